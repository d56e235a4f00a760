-- Inner and cross joins.

-- view orders_of_customers
SELECT o.order_id, c.customer_id, c.name, o.status FROM orders o JOIN customers c ON c.customer_id = o.customer_id;

-- view lines_of_products
SELECT order_id, line_no, name, category FROM order_lines JOIN products USING (product_id);

-- view customers_and_regions
SELECT c.name, r.name AS region FROM customers c, regions r WHERE c.region_id = r.region_id;

-- view lines_orders_customers
SELECT l.order_id, l.line_no, o.ordered_on, c.tier, l.quantity * l.unit_price AS amount
FROM order_lines l JOIN orders o ON o.order_id = l.order_id JOIN customers c ON c.customer_id = o.customer_id;

-- view everything_about_a_line
SELECT l.order_id, l.line_no, o.status, c.name AS customer, r.name AS region, p.name AS product
FROM order_lines l
JOIN orders o ON o.order_id = l.order_id
JOIN customers c ON c.customer_id = o.customer_id
JOIN regions r ON r.region_id = c.region_id
JOIN products p ON p.product_id = l.product_id;

-- view all_six_tables
SELECT s.shipment_id, l.line_no, o.ordered_on, c.name AS customer, r.name AS region, p.name AS product
FROM shipments s
JOIN orders o ON o.order_id = s.order_id
JOIN order_lines l ON l.order_id = o.order_id
JOIN customers c ON c.customer_id = o.customer_id
JOIN regions r ON r.region_id = c.region_id
JOIN products p ON p.product_id = l.product_id;

-- view regions_and_tiers
SELECT r.region_id, t.tier FROM regions r CROSS JOIN (VALUES ('gold'), ('silver'), ('none')) AS t (tier);

-- view neighbours
SELECT a.customer_id, b.customer_id AS other FROM customers a JOIN customers b ON b.region_id = a.region_id AND b.customer_id = a.customer_id + 1;

-- view cheaper_in_the_category
SELECT a.product_id, b.product_id AS cheaper FROM products a JOIN products b ON b.category = a.category AND b.price < a.price AND b.product_id % 7 = 0;

-- view shipped_orders
SELECT s.shipment_id, o.order_id, s.shipped_on - o.ordered_on AS days
FROM shipments s JOIN orders o ON o.order_id = s.order_id WHERE s.shipped_on IS NOT NULL;

-- view late_and_heavy
SELECT s.shipment_id, o.customer_id FROM shipments s JOIN orders o USING (order_id) WHERE s.shipped_on > o.ordered_on + 3 AND s.weight > 1;

-- view discounts
SELECT l.order_id, l.line_no, p.price - l.unit_price AS discount
FROM order_lines l JOIN products p ON p.product_id = l.product_id AND p.price > l.unit_price;

-- view first_lines
SELECT o.order_id, l.product_id FROM orders o JOIN order_lines l ON l.order_id = o.order_id AND l.line_no = 1 WHERE o.status <> 'open';

-- view names_that_are_shared
SELECT c.name, p.name AS product FROM customers c JOIN products p ON left(p.name, 9) = left(c.name, 9);
