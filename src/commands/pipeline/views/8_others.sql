-- Windows, the first rows of an order, functions in FROM, and more.

-- view orders_numbered
SELECT order_id, customer_id, row_number() OVER (PARTITION BY customer_id ORDER BY ordered_on, order_id) AS number FROM orders;

-- view running_amount
SELECT order_id, line_no, sum(quantity) OVER (PARTITION BY order_id ORDER BY line_no) AS so_far FROM order_lines;

-- view latest_order_of_each
SELECT DISTINCT ON (customer_id) customer_id, order_id, ordered_on FROM orders ORDER BY customer_id, ordered_on DESC, order_id DESC;

-- view ten_dearest
SELECT product_id, name, price FROM products ORDER BY price DESC, product_id LIMIT 10;

-- view amounts_and_totals
SELECT category, discontinued, count(*) AS products, sum(price) AS price FROM products GROUP BY ROLLUP (category, discontinued);

-- view words_of_notes
SELECT o.order_id, w.word FROM orders o, LATERAL unnest(string_to_array(o.note, ' ')) AS w (word);

-- view latest_shipment
SELECT o.order_id, s.shipment_id
FROM orders o CROSS JOIN LATERAL (SELECT shipment_id FROM shipments s WHERE s.order_id = o.order_id ORDER BY shipment_id DESC LIMIT 1) AS s;

-- view chain_of_products
WITH RECURSIVE chain AS (
    SELECT product_id, 1 AS depth FROM products WHERE product_id % 10 = 1
    UNION ALL
    SELECT p.product_id, c.depth + 1 FROM chain c JOIN products p ON p.product_id = c.product_id + 1 WHERE c.depth < 4
)
SELECT product_id, depth FROM chain;
