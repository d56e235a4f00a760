-- Columns, expressions and conditions over one table.

-- view customers_as_they_are
SELECT * FROM customers;

-- view order_lines_in_parallel filled by 4 sessions, split by order_id
SELECT order_id, line_no, product_id, quantity, unit_price, quantity * unit_price AS amount FROM order_lines;

-- view regions_without_a_date
SELECT region_id, name FROM regions WHERE opened IS NULL;

-- view products_on_sale
SELECT product_id, upper(name) AS name, price, round(price * 1.21, 2) AS with_tax FROM products WHERE NOT discontinued;

-- view price_bands
SELECT product_id, CASE WHEN price < 10 THEN 'low' WHEN price < 50 THEN 'middle' ELSE 'high' END AS band FROM products;

-- view orders_by_age
SELECT order_id, ordered_on, ordered_on - date '2025-01-01' AS days, extract(year FROM ordered_on) AS year FROM orders;

-- view orders_with_a_note
SELECT order_id, coalesce(note, '-') AS note, length(note) AS letters FROM orders WHERE note LIKE '%a%' OR note IS NULL;

-- view open_or_paid
SELECT order_id, customer_id, status FROM orders WHERE status IN ('open', 'paid') AND customer_id IS NOT NULL;

-- view heavy_shipments
SELECT shipment_id, carrier, weight, weight BETWEEN 5 AND 8 AS is_middling FROM shipments WHERE weight > 2.5;

-- view carriers_without_a_key
SELECT carrier, shipped_on FROM shipments;

-- view rich_customers
SELECT customer_id, name || ' (' || tier || ')' AS label, nullif(credit, 0) AS credit FROM customers WHERE credit > ALL (ARRAY[100, 200]);

-- view expensive_lines
SELECT order_id, line_no, greatest(quantity, 2) AS quantity, least(unit_price, 20) AS capped FROM order_lines WHERE quantity * unit_price > 60;

-- view names_in_arrays
SELECT customer_id, ARRAY[name, tier] AS words FROM customers WHERE tier <> 'none';
