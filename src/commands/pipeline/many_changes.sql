-- Every table: rows that come, go, change, get other keys, find a partner or lose it. Can be run again and again.
UPDATE regions SET name = name || '''' WHERE region_id % 5 = 2;
UPDATE regions SET opened = CASE WHEN opened IS NULL THEN date '2024-02-29' END WHERE region_id % 4 = 0;
DELETE FROM regions WHERE region_id = (SELECT max(region_id) FROM regions);
INSERT INTO regions SELECT max(region_id) + 1, 'a new region', NULL FROM regions;
UPDATE customers SET region_id = nullif((coalesce(region_id, 0) + 5) % 13, 0) WHERE customer_id % 20 = 3;
UPDATE customers SET tier = 'gold', credit = coalesce(credit, 0) + 150.25 WHERE customer_id % 31 = 4;
DELETE FROM customers WHERE customer_id % 61 = 7;
INSERT INTO customers SELECT m + i, nullif(i, 2), 'newcomer ' || i, 'silver', 99.5 * i FROM (SELECT max(customer_id) AS m FROM customers) c, generate_series(1, 4) i;
UPDATE products SET price = price + 1.5 WHERE product_id % 12 = 5;
UPDATE products SET discontinued = NOT discontinued, category = 'category ' || product_id % 3 WHERE product_id % 17 = 2;
DELETE FROM products WHERE product_id % 41 = 40;
INSERT INTO products SELECT max(product_id) + 1, 'category new', 'product new', 12.25, false FROM products;
UPDATE orders SET status = CASE status WHEN 'open' THEN 'paid' WHEN 'paid' THEN 'sent' ELSE 'open' END WHERE order_id % 50 = 3;
UPDATE orders SET customer_id = CASE WHEN customer_id IS NULL THEN 2 END WHERE order_id % 47 = 5;
UPDATE orders SET note = CASE WHEN note IS NULL THEN 'late again' ELSE note || ' again' END, ordered_on = ordered_on + 1 WHERE order_id % 67 = 11;
UPDATE orders SET order_id = (SELECT max(order_id) FROM orders) + order_id WHERE order_id % 211 = 9;
DELETE FROM orders WHERE order_id % 53 = 7;
INSERT INTO orders SELECT m + i, 1 + i % 9, date '2026-01-01' + i::integer, 'open', NULL FROM (SELECT max(order_id) AS m FROM orders) o, generate_series(1, 12) i;
INSERT INTO order_lines SELECT m - i, 99, 1 + i % 80, 2, 19.75 FROM (SELECT max(order_id) AS m FROM orders) o, generate_series(0, 9) i
ON CONFLICT DO NOTHING;
UPDATE order_lines SET quantity = quantity % 8 + 1, unit_price = unit_price + 0.25 WHERE order_id % 40 = 2;
UPDATE order_lines SET product_id = product_id % 80 + 1 WHERE order_id % 57 = 3 AND line_no = 2;
DELETE FROM order_lines WHERE order_id % 71 = 4;
UPDATE shipments SET shipped_on = CASE WHEN shipped_on IS NULL THEN date '2026-02-01' END WHERE shipment_id % 33 = 0;
UPDATE shipments SET order_id = order_id + 1, weight = coalesce(weight, 0) + 0.125, carrier = 'rail' WHERE shipment_id % 45 = 6;
DELETE FROM shipments WHERE shipment_id % 37 = 5;
INSERT INTO shipments SELECT m + i, 10 * i, 'air', NULL, NULL FROM (SELECT max(shipment_id) AS m FROM shipments) s, generate_series(1, 5) i;
