-- LEFT, RIGHT and FULL JOIN.

-- view orders_left_customers
SELECT o.order_id, o.status, c.name FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id;

-- view orders_right_customers
SELECT o.order_id, c.customer_id, c.name FROM orders o RIGHT JOIN customers c ON c.customer_id = o.customer_id;

-- view orders_full_customers
SELECT o.order_id, c.customer_id FROM orders o FULL JOIN customers c ON c.customer_id = o.customer_id;

-- view orders_without_customers
SELECT o.order_id FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id WHERE c.customer_id IS NULL;

-- view products_with_or_without_lines
SELECT p.product_id, l.order_id, l.line_no FROM products p LEFT JOIN order_lines l ON l.product_id = p.product_id AND l.quantity > 3;

-- view orders_and_shipments
SELECT o.order_id, s.shipment_id, s.carrier, s.shipped_on IS NULL AS is_waiting FROM orders o LEFT JOIN shipments s ON s.order_id = o.order_id;

-- view left_left
SELECT o.order_id, c.name, r.name AS region
FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id LEFT JOIN regions r ON r.region_id = c.region_id;

-- view left_of_an_inner_join
SELECT c.customer_id, x.order_id, x.line_no
FROM customers c LEFT JOIN (orders o JOIN order_lines l USING (order_id)) AS x ON x.customer_id = c.customer_id;

-- view inner_after_left
SELECT l.order_id, l.line_no, s.carrier, p.category
FROM order_lines l LEFT JOIN shipments s ON s.order_id = l.order_id JOIN products p ON p.product_id = l.product_id;

-- view full_of_three
SELECT r.region_id, c.customer_id, o.order_id
FROM regions r FULL JOIN customers c ON c.region_id = r.region_id FULL JOIN orders o ON o.customer_id = c.customer_id;

-- view left_with_a_range
SELECT o.order_id, s.shipment_id FROM orders o LEFT JOIN shipments s ON s.order_id = o.order_id AND s.weight BETWEEN 1 AND 6;

-- view left_with_a_group
SELECT c.customer_id, c.name, t.orders
FROM customers c LEFT JOIN (SELECT customer_id, count(*) AS orders FROM orders GROUP BY customer_id) AS t ON t.customer_id = c.customer_id;

-- view left_with_coalesce
SELECT o.order_id, coalesce(c.tier, 'unknown') AS tier, coalesce(c.credit, 0) AS credit
FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id AND c.tier <> 'none';
