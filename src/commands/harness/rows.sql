-- @rows is the number of orders. Some rows of every table have no partner in the others, and some columns no value.
INSERT INTO regions
SELECT i, 'region ' || chr(64 + i), CASE WHEN i % 4 > 0 THEN date '2020-01-01' + i * 100 END FROM generate_series(1, 12) i;
INSERT INTO customers
SELECT i, CASE WHEN i % 7 > 0 THEN 1 + i % 13 END, 'customer ' || i, (ARRAY['gold', 'silver', 'none'])[1 + i % 3],
       CASE WHEN i % 5 > 0 THEN (i * 37) % 500 END
FROM generate_series(1, @rows / 5) i;
INSERT INTO products
SELECT i, 'category ' || i % 8, CASE WHEN i % 9 = 0 THEN 'customer ' || i ELSE 'product ' || i END, 1 + (i * 53) % 97 + i % 4 * 0.25, i % 11 = 0
FROM generate_series(1, 80) i;
INSERT INTO orders
SELECT i, CASE WHEN i % 17 > 0 THEN 1 + (i * 7) % (@rows / 4) END, date '2025-01-01' + i % 365, (ARRAY['open', 'paid', 'sent'])[1 + i % 3],
       CASE i % 6 WHEN 0 THEN 'please call' WHEN 1 THEN 'a gift and a card' END
FROM generate_series(1, @rows) i;
INSERT INTO order_lines
SELECT i, n, 1 + (i * 3 + n * 11) % 85, 1 + (i + n) % 8, 1 + (i * 13 + n) % 60 + 0.5
FROM generate_series(1, @rows) i, generate_series(1, i % 6) n;
INSERT INTO shipments
SELECT i, CASE WHEN i % 19 > 0 THEN (i * 3) % (@rows + @rows / 10) END, (ARRAY['rail', 'road', 'sea', 'pickup'])[1 + i % 4],
       CASE WHEN i % 8 > 0 THEN date '2025-01-03' + i % 365 END, CASE WHEN i % 10 > 0 THEN (i % 90) / 10.0 END
FROM generate_series(1, @rows * 7 / 10) i;
CREATE INDEX ON customers (region_id);
CREATE INDEX ON products (category);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON order_lines (product_id);
CREATE INDEX ON shipments (order_id);
ANALYZE regions, customers, products, orders, order_lines, shipments;
