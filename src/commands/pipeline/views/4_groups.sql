-- GROUP BY, DISTINCT and aggregates.

-- view number_of_orders
SELECT count(*) AS orders FROM orders;

-- view orders_by_status
SELECT status, count(*) AS orders FROM orders GROUP BY status;

-- view orders_by_customer
SELECT customer_id, count(*) AS orders, min(ordered_on) AS first, max(ordered_on) AS latest FROM orders GROUP BY customer_id;

-- view revenue_by_order
SELECT order_id, sum(quantity * unit_price) AS amount, count(*) AS lines FROM order_lines GROUP BY order_id;

-- view revenue_by_category
SELECT p.category, sum(l.quantity * l.unit_price) AS amount, sum(l.quantity) AS pieces
FROM order_lines l JOIN products p USING (product_id) GROUP BY p.category;

-- view revenue_by_region_and_tier
SELECT r.name, c.tier, sum(l.quantity * l.unit_price) AS amount, count(*) AS lines
FROM order_lines l JOIN orders o USING (order_id) JOIN customers c USING (customer_id) JOIN regions r USING (region_id)
GROUP BY r.name, c.tier;

-- view mean_weight
SELECT carrier, avg(weight) AS mean, count(weight) AS weighed FROM shipments GROUP BY carrier;

-- view open_and_others
SELECT customer_id, count(*) FILTER (WHERE status = 'open') AS open, count(*) FILTER (WHERE status <> 'open') AS others FROM orders GROUP BY customer_id;

-- view busy_customers
SELECT customer_id, count(*) AS orders FROM orders GROUP BY customer_id HAVING count(*) > 5;

-- view all_and_any
SELECT order_id, bool_and(quantity > 1) AS all_several, bool_or(quantity > 6) AS any_many FROM order_lines GROUP BY order_id;

-- view tiers
SELECT DISTINCT tier FROM customers;

-- view carriers_by_day
SELECT DISTINCT carrier, shipped_on FROM shipments;

-- view distinct_products
SELECT order_id, count(DISTINCT product_id) AS products FROM order_lines GROUP BY order_id;

-- view names_of_products
SELECT category, string_agg(name, ', ' ORDER BY name, product_id) AS names, array_agg(product_id ORDER BY product_id) AS ids FROM products GROUP BY category;

-- view spread_of_prices
SELECT category, stddev_samp(price) AS deviation, var_pop(price) AS variance, percentile_disc(0.5) WITHIN GROUP (ORDER BY price) AS median
FROM products GROUP BY category;

-- view orders_by_month
SELECT extract(year FROM ordered_on) AS year, extract(month FROM ordered_on) AS month, count(*) AS orders FROM orders GROUP BY 1, 2;

-- view revenue_of_customers
SELECT c.customer_id, count(l.line_no) AS lines, coalesce(sum(l.quantity * l.unit_price), 0) AS amount
FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id LEFT JOIN order_lines l ON l.order_id = o.order_id
GROUP BY c.customer_id;

-- view most_frequent_status
SELECT customer_id, mode() WITHIN GROUP (ORDER BY status) AS status FROM orders WHERE customer_id % 3 = 0 GROUP BY customer_id;
