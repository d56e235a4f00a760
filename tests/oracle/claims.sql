-- Queries for every row of the table "What is fast, and what is not" in docs/fast-refresh.md: a row begins with `-- |` and what its
-- first cell says. What is refreshed completely has the reason behind `-- because`.

-- | columns, expressions, WHERE over one table
SELECT order_id, amount * 2 AS twice, upper(note) AS note FROM orders WHERE amount > 10 OR is_paid IS NULL;
SELECT note, CASE WHEN is_paid THEN 'paid' ELSE 'open' END AS state FROM orders WHERE note IN ('a', 'b');
SELECT bill_id, state::text AS state, upper(mark) AS mark, 'x' = ANY (marks) AS is_marked FROM bills WHERE mark <> 'z' OR state < 'paid';
SELECT source, place, flags, area, spans FROM bills WHERE bill_id <> 1;
SELECT bill_id, source, place, flags, area, spans FROM bills;
SELECT order_id, setweight(to_tsvector('english', coalesce(note, '')), 'A') AS words, (jsonb_build_object('n', amount) ->> 'n')::numeric AS n, daterange(ordered_on, NULL) AS since FROM orders WHERE daterange(ordered_on, NULL) && daterange('2024-01-01', '2025-01-01');

-- | inner and cross joins, self joins, USING, NATURAL, any condition
SELECT o.order_id, c.name FROM orders o JOIN customers c USING (customer_id);
SELECT a.order_id, b.order_id AS other FROM orders a JOIN orders b ON a.customer_id = b.customer_id AND a.amount < b.amount;
SELECT * FROM customers NATURAL JOIN regions;
SELECT c.name, r.region FROM customers c CROSS JOIN regions r;

-- | UNION ALL, UNION, DISTINCT
SELECT name FROM customers UNION ALL SELECT note FROM orders;
SELECT name FROM customers UNION SELECT note FROM orders;
SELECT customer_id FROM customers UNION ALL SELECT amount FROM orders;
SELECT DISTINCT note FROM orders;

-- | GROUP BY with count, sum, avg (integers, numeric), bool_and, bool_or, every; FILTER, HAVING
SELECT customer_id, count(*) AS n, sum(amount) AS total, avg(amount) AS mean, bool_and(is_paid) AS paid FROM orders GROUP BY customer_id;
SELECT mark, state, count(*) AS n, min(mark) AS least FROM bills GROUP BY mark, state;
SELECT customer_id, every(is_paid) AS paid, count(*) FILTER (WHERE amount > 10) AS large FROM orders GROUP BY customer_id HAVING count(*) > 1;

-- | GROUP BY with min, max
SELECT customer_id, min(ordered_on) AS first, max(amount) AS most FROM orders GROUP BY customer_id;

-- | LEFT, RIGHT, FULL JOIN, nested, with any condition PostgreSQL takes
SELECT c.name, o.amount FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND o.is_paid;
SELECT c.name, o.amount, r.rank FROM orders o RIGHT JOIN (customers c FULL JOIN regions r USING (region)) ON o.amount > c.customer_id;

-- | EXISTS, NOT EXISTS, IN, NOT IN, ANY, ALL over subqueries
SELECT name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND o.is_paid);
SELECT name FROM customers WHERE region IN (SELECT region FROM regions WHERE rank < 3) OR customer_id = ANY (SELECT customer_id FROM orders);
SELECT order_id FROM orders WHERE note NOT IN (SELECT name FROM customers) AND customer_id >= ALL (SELECT rank FROM regions);
SELECT name FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND EXISTS (SELECT FROM regions r WHERE r.rank = o.order_id AND r.region = c.region));
SELECT c.name, o.amount FROM orders o RIGHT JOIN customers c ON o.customer_id = c.customer_id AND EXISTS (SELECT FROM regions r WHERE r.rank = o.order_id);
SELECT c.name, o.amount FROM customers c JOIN orders o ON o.customer_id = c.customer_id AND EXISTS (SELECT FROM regions r WHERE r.region = c.region);
SELECT c.name, o.amount FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND EXISTS (SELECT FROM regions r WHERE r.region = c.region);
SELECT c.name, o.amount FROM customers c FULL JOIN orders o ON o.customer_id = c.customer_id AND EXISTS (SELECT FROM regions r WHERE r.rank = o.amount);
SELECT name FROM customers c WHERE NOT EXISTS (SELECT FROM regions r WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND o.amount = r.rank));

-- | groupings over any of these with count, sum, avg, min, max, bool_and, bool_or, every; aggregates of all groups of another grouping
SELECT n, count(*) AS customers FROM (SELECT c.customer_id, count(o.order_id) AS n FROM customers c LEFT JOIN orders o USING (customer_id) GROUP BY c.customer_id) x GROUP BY n;
SELECT c.region, sum(CASE WHEN EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id) THEN 1 ELSE 0 END) AS buyers FROM customers c GROUP BY c.region;
WITH totals AS (SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id) SELECT customer_id, total FROM totals WHERE total = (SELECT max(total) FROM totals);
SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id ORDER BY sum(amount) DESC, customer_id LIMIT 2;

-- | groupings within other operators; aggregates with DISTINCT, ordered and statistical ones, sums of intervals
SELECT c.customer_id, g.n FROM customers c LEFT JOIN (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) g USING (customer_id);
SELECT customer_id, count(DISTINCT note) AS notes, string_agg(note, ', ' ORDER BY note) AS listed, array_agg(amount ORDER BY amount) AS amounts FROM orders GROUP BY customer_id;
SELECT customer_id, stddev(amount) AS deviation, percentile_disc(0.5) WITHIN GROUP (ORDER BY amount) AS median, mode() WITHIN GROUP (ORDER BY note) AS most, jsonb_agg(note ORDER BY note) AS notes FROM orders GROUP BY customer_id;
SELECT customer_id, percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY amount) AS quartiles, percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY amount) AS high FROM orders GROUP BY customer_id;
SELECT customer_id, array_agg(note ORDER BY ordered_on, order_id) AS notes, json_agg(json_build_object('id', order_id, 'note', note) ORDER BY order_id) AS orders FROM orders GROUP BY customer_id;
SELECT customer_id, sum(took) AS took, avg(took) AS mean FROM orders GROUP BY customer_id;

-- | sums and means of floating-point numbers in no order, shown beside all that is grouped by
SELECT customer_id, count(*) AS orders, sum(discount) AS discounts, avg(discount::real) FILTER (WHERE is_paid) AS mean FROM orders GROUP BY customer_id HAVING max(amount) > 1;
SELECT c.region, sum(o.discount) AS discounts FROM customers c LEFT JOIN orders o USING (customer_id) WHERE c.region IN (SELECT region FROM regions) GROUP BY c.region;
SELECT avg(discount) AS mean FROM orders;
SELECT customer_id, round(avg(discount)::numeric, 2) AS mean, coalesce(sum(discount), 0) / count(*) AS each FROM orders GROUP BY customer_id;

-- | sums and statistics of floating-point numbers with ORDER BY of what they are over; aggregates of users with ORDER BY
SELECT customer_id, sum(discount ORDER BY discount) AS discounts, avg(discount ORDER BY discount DESC) AS mean, corr(discount, amount::float8 ORDER BY discount, amount::float8) AS c FROM orders GROUP BY customer_id;
SELECT customer_id, shop.joined(note ORDER BY note) AS notes FROM orders GROUP BY customer_id;

-- | INTERSECT, EXCEPT, with and without ALL, nested with UNION
SELECT customer_id FROM customers INTERSECT SELECT customer_id FROM orders;
SELECT customer_id FROM orders EXCEPT ALL SELECT customer_id FROM customers;
(SELECT name FROM customers UNION SELECT note FROM orders) EXCEPT (SELECT region FROM regions INTERSECT ALL SELECT region FROM customers);

-- | window functions with PARTITION BY, their frames, FILTER, named windows, windows over groupings
SELECT order_id, rank() OVER w AS place, sum(amount) OVER (w ROWS UNBOUNDED PRECEDING) AS so_far, count(*) FILTER (WHERE is_paid) OVER (PARTITION BY note) AS paid FROM orders WINDOW w AS (PARTITION BY customer_id ORDER BY ordered_on, order_id);
SELECT order_id, lag(amount) OVER (PARTITION BY customer_id ORDER BY order_id) AS before, first_value(note) OVER (PARTITION BY customer_id ORDER BY note) AS first FROM orders;
SELECT customer_id, note, rank() OVER (PARTITION BY customer_id ORDER BY sum(amount) DESC) AS place FROM orders GROUP BY customer_id, note;

-- | DISTINCT ON, ORDER BY … LIMIT, OFFSET, FETCH FIRST … WITH TIES, in subqueries as well
SELECT DISTINCT ON (customer_id) customer_id, amount FROM orders ORDER BY customer_id, ordered_on DESC, order_id;
SELECT name, amount FROM orders JOIN customers USING (customer_id) ORDER BY amount DESC, order_id LIMIT 2 OFFSET 1;
SELECT order_id, amount FROM orders ORDER BY amount FETCH FIRST 2 ROWS WITH TIES;
SELECT order_id, amount FROM orders ORDER BY amount DESC, order_id LIMIT 3 * 2 - 4 OFFSET NULL;
SELECT order_id, amount FROM orders ORDER BY amount FETCH FIRST (1 + 1) ROWS WITH TIES;
SELECT c.name, (SELECT o.amount FROM orders o ORDER BY o.order_id LIMIT 1) AS first FROM customers c;

-- | GROUPING SETS, ROLLUP, CUBE, GROUPING()
SELECT region, name, count(*) AS n, grouping(region, name) AS level FROM customers GROUP BY ROLLUP (region, name);
SELECT region, count(*) AS n FROM customers GROUP BY GROUPING SETS ((region), (), ()) HAVING count(*) >= 0;
SELECT customer_id, note, sum(amount) AS total FROM orders GROUP BY CUBE (customer_id, note);

-- | WITH, VALUES, subqueries as values
WITH paid AS (SELECT customer_id, amount FROM orders WHERE is_paid) SELECT c.name, (SELECT sum(p.amount) FROM paid p WHERE p.customer_id = c.customer_id) AS paid FROM customers c;
SELECT v.label, o.order_id FROM orders o JOIN (VALUES (1, 'one'), (2, 'two')) AS v (number, label) ON v.number = o.customer_id;
SELECT name FROM customers c WHERE customer_id < (SELECT max(o.customer_id) FROM orders o);
SELECT c.name, ARRAY(SELECT o.note FROM orders o WHERE o.customer_id = c.customer_id ORDER BY o.ordered_on, o.order_id) AS notes FROM customers c;
SELECT c.name, ARRAY(SELECT DISTINCT o.amount FROM orders o WHERE o.is_paid ORDER BY o.amount) AS amounts FROM customers c;
SELECT c.name, ARRAY(SELECT o.amount FROM orders o WHERE o.customer_id = c.customer_id ORDER BY o.amount DESC, o.order_id LIMIT 2) AS most FROM customers c;
SELECT c.name, (SELECT o.note FROM orders o WHERE o.customer_id = c.customer_id ORDER BY o.ordered_on DESC, o.order_id LIMIT 1) AS last FROM customers c;
SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.customer_id LIMIT 1);
SELECT order_id, (SELECT count(*) FROM orders e WHERE e.ordered_on < o.ordered_on) AS earlier, (SELECT r.region || o.note FROM regions r WHERE r.region = o.note) AS both FROM orders o;
SELECT order_id, (SELECT sum(e.amount * o.customer_id) FROM orders e WHERE e.customer_id = o.customer_id) AS total, (SELECT e.note FROM orders e WHERE e.order_id < o.order_id ORDER BY e.order_id DESC LIMIT 1) AS before FROM orders o;

-- | LATERAL, functions in FROM, functions that give sets
SELECT c.name, o.amount FROM customers c CROSS JOIN LATERAL (SELECT amount FROM orders WHERE customer_id = c.customer_id) o;
SELECT c.name, n FROM customers c CROSS JOIN generate_series(1, c.customer_id) AS n;
SELECT c.name, o.amount, o.n FROM customers c LEFT JOIN LATERAL (SELECT amount, count(*) AS n FROM orders WHERE customer_id < c.customer_id GROUP BY amount) o ON o.amount > c.customer_id;
SELECT c.name, o.amount FROM customers c CROSS JOIN LATERAL (SELECT amount FROM orders WHERE customer_id >= c.customer_id ORDER BY order_id LIMIT 2) o;
SELECT order_id, unnest(string_to_array(note, 'n')) AS part FROM orders;
SELECT order_id FROM orders o WHERE EXISTS (SELECT 1 FROM unnest(string_to_array(o.note, 'n')) AS p WHERE p = 'a') OR o.order_id IN (SELECT x * o.customer_id FROM generate_series(1, 3) AS x);
SELECT order_id, (SELECT string_agg(p, ',' ORDER BY p) FROM unnest(string_to_array(o.note, 'n')) AS p) AS parts, ARRAY(SELECT x * o.amount FROM generate_series(1, o.customer_id) AS x ORDER BY x) AS multiples FROM orders o;
SELECT customer_id, sum((SELECT max(v) FROM (VALUES (o.amount), (o.amount * 2 - 15)) AS x(v))) AS total FROM orders o GROUP BY customer_id;

-- | dates, times, texts and JSON that depend on kept settings
SELECT order_id, ordered_on::text AS day FROM orders;

-- | whole rows as arguments of functions and aggregates that write JSON, and of count
SELECT c.region, count(o) AS orders, jsonb_agg(o ORDER BY o.order_id) AS list, json_agg(o ORDER BY o.order_id) AS text FROM shop.customers AS c JOIN shop.orders AS o USING (customer_id) GROUP BY c.region;
SELECT c.customer_id, to_jsonb(c) AS customer, to_jsonb(o) AS of_order FROM shop.customers AS c LEFT JOIN shop.orders AS o USING (customer_id);
SELECT order_id, row_to_json(o) AS written FROM shop.orders AS o;

-- | arguments that are left out (for a constant), named, VARIADIC
SELECT order_id, make_interval(days => customer_id) AS days, jsonb_path_exists(to_jsonb(amount), '$') AS is_there, jsonb_extract_path_text(jsonb_build_object('a', amount), 'a') AS written FROM shop.orders;

-- | other sums and statistics of floating-point numbers in no order, window functions without PARTITION BY
-- because sum(…): sum of floating-point numbers depends on the order of the rows, and it is not in the select list of the outermost GROUP BY; cast to numeric, or add ORDER BY of what it is over
SELECT order_id FROM orders JOIN (SELECT customer_id, sum(discount) AS discounts FROM orders GROUP BY customer_id) AS sums USING (customer_id) WHERE discount > discounts;
-- because avg(…): avg of floating-point numbers depends on the order of the rows, and bounds of what is computed from it are not known; cast to numeric, or add ORDER BY of what it is over
SELECT sqrt(avg(discount)) FROM orders;
-- because stddev(…): stddev of floating-point numbers depends on the order of the rows; cast to numeric, or add ORDER BY of what it is over
SELECT stddev(discount) FROM orders;
-- because rank() OVER: without PARTITION BY any change may change the values of all rows
SELECT rank() OVER (ORDER BY amount) AS place FROM orders;

-- | what takes some rows of several that are equal in its order
-- because LIMIT: which of the rows that ORDER BY takes for equal it takes depends on the order in which they are read; order by a unique key, too
SELECT name FROM customers ORDER BY region LIMIT 1;
-- because LIMIT: which rows it takes depends on the order in which they are read; add ORDER BY
SELECT name FROM customers LIMIT 1;
-- because array_agg(…): rows that ORDER BY takes for equal may come in any order; order by what is aggregated, or by a unique key, too
SELECT name, ARRAY(SELECT o.note FROM orders o WHERE o.customer_id = c.customer_id ORDER BY o.ordered_on) AS notes FROM customers c;
-- because array_agg(…): its value depends on the order in which rows are read; add ORDER BY
SELECT array_agg(name) FROM customers;
-- because row_number() OVER: its value depends on the order in which rows are read that are equal for PARTITION BY and ORDER BY; order by a unique key, too
SELECT order_id, row_number() OVER (PARTITION BY customer_id ORDER BY amount) AS place FROM orders;

-- | WITH RECURSIVE
-- because WITH RECURSIVE: its rows depend on rows of itself
WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x WHERE n < 3) SELECT order_id FROM orders WHERE order_id IN (SELECT n FROM x);

-- | volatile functions, and those that depend on the time or on other settings
-- because now(…): it depends on the time of the refresh
SELECT order_id, now() AS at FROM orders;
-- because random(…): it is not immutable: its result may change without any row changing
SELECT order_id FROM orders WHERE random() < 2;

-- | foreign tables, unlogged tables, inheritance, tables filled by a subscription, row security that applies to the owner
-- because shop.ancestors: other tables inherit from it
SELECT id FROM ancestors;
