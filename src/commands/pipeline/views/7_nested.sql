-- Queries within queries.

-- view with_once
WITH amounts AS (SELECT order_id, sum(quantity * unit_price) AS amount FROM order_lines GROUP BY order_id)
SELECT o.order_id, o.status, a.amount FROM orders o JOIN amounts a ON a.order_id = o.order_id;

-- view with_twice
WITH counts AS (SELECT customer_id, count(*) AS orders FROM orders WHERE customer_id IS NOT NULL GROUP BY customer_id)
SELECT a.customer_id, a.orders, b.orders AS of_the_next FROM counts a JOIN counts b ON b.customer_id = a.customer_id + 1;

-- view histogram
SELECT orders, count(*) AS customers
FROM (SELECT customer_id, count(*) AS orders FROM orders GROUP BY customer_id) AS c GROUP BY orders;

-- view mean_of_sums
SELECT o.status, avg(a.amount) AS mean
FROM orders o JOIN (SELECT order_id, sum(quantity * unit_price) AS amount FROM order_lines GROUP BY order_id) AS a USING (order_id)
GROUP BY o.status;

-- view two_groups_joined
SELECT l.order_id, l.lines, s.parcels
FROM (SELECT order_id, count(*) AS lines FROM order_lines GROUP BY order_id) AS l
LEFT JOIN (SELECT order_id, count(*) AS parcels FROM shipments GROUP BY order_id) AS s ON s.order_id = l.order_id;

-- view distinct_over_a_join
SELECT DISTINCT c.tier, p.category
FROM customers c JOIN orders o USING (customer_id) JOIN order_lines l USING (order_id) JOIN products p USING (product_id);

-- view filtered_groups
SELECT * FROM (SELECT product_id, sum(quantity) AS pieces FROM order_lines GROUP BY product_id) AS t WHERE pieces > 20;

-- view group_over_exists
SELECT c.tier, count(*) AS customers FROM customers c
WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id) GROUP BY c.tier;

-- view group_over_union
SELECT name, count(*) AS times FROM (SELECT name FROM customers UNION ALL SELECT name FROM products) AS n GROUP BY name;

-- view regions_in_figures
SELECT r.region_id, r.name, count(DISTINCT c.customer_id) AS customers, count(DISTINCT o.order_id) AS orders
FROM regions r LEFT JOIN customers c ON c.region_id = r.region_id LEFT JOIN orders o ON o.customer_id = c.customer_id
GROUP BY r.region_id, r.name;
