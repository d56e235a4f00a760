-- UNION and its kin.

-- view all_names
SELECT 'customer' AS kind, customer_id AS id, name FROM customers
UNION ALL
SELECT 'product', product_id, name FROM products
UNION ALL
SELECT 'region', region_id, name FROM regions;

-- view days_with_events
SELECT ordered_on AS day FROM orders UNION SELECT shipped_on FROM shipments;

-- view events
SELECT order_id, ordered_on AS day, 'ordered' AS event FROM orders
UNION ALL
SELECT s.order_id, s.shipped_on, 'shipped' FROM shipments s WHERE s.shipped_on IS NOT NULL;

-- view events_by_day
SELECT day, count(*) AS events
FROM (SELECT ordered_on AS day FROM orders UNION ALL SELECT shipped_on FROM shipments) AS e GROUP BY day;

-- view lines_by_size
SELECT 'big' AS size, order_id, line_no FROM order_lines WHERE quantity > 5
UNION ALL
SELECT 'small', l.order_id, l.line_no FROM order_lines l JOIN orders o USING (order_id) WHERE l.quantity <= 2 AND o.status = 'open';

-- view union_of_joins
SELECT o.order_id, c.name FROM orders o JOIN customers c USING (customer_id)
UNION ALL
SELECT s.order_id, s.carrier FROM shipments s LEFT JOIN orders o ON o.order_id = s.order_id WHERE o.order_id IS NULL;

-- view customers_with_and_without_orders
SELECT customer_id FROM customers INTERSECT SELECT customer_id FROM orders;

-- view products_never_ordered
SELECT product_id FROM products EXCEPT SELECT product_id FROM order_lines;

-- view shipments_beyond_orders
SELECT order_id FROM shipments EXCEPT ALL SELECT order_id FROM orders;
