-- EXISTS, IN and subqueries as values.

-- view orders_with_lines
SELECT order_id, status FROM orders o WHERE EXISTS (SELECT FROM order_lines l WHERE l.order_id = o.order_id AND l.quantity > 4);

-- view orders_without_lines
SELECT order_id FROM orders o WHERE NOT EXISTS (SELECT FROM order_lines l WHERE l.order_id = o.order_id);

-- view customers_who_ordered
SELECT customer_id, name FROM customers WHERE customer_id IN (SELECT customer_id FROM orders WHERE status = 'paid');

-- view customers_who_did_not
SELECT customer_id, name FROM customers WHERE customer_id NOT IN (SELECT customer_id FROM orders WHERE customer_id IS NOT NULL);

-- view products_of_gold_customers
SELECT p.product_id FROM products p
WHERE EXISTS (SELECT FROM order_lines l JOIN orders o USING (order_id) JOIN customers c USING (customer_id)
              WHERE l.product_id = p.product_id AND c.tier = 'gold');

-- view orders_with_a_flag
SELECT o.order_id, EXISTS (SELECT FROM shipments s WHERE s.order_id = o.order_id) AS is_shipped FROM orders o;

-- view orders_with_their_amount
SELECT o.order_id, (SELECT sum(l.quantity * l.unit_price) FROM order_lines l WHERE l.order_id = o.order_id) AS amount FROM orders o;

-- view orders_with_a_name
SELECT o.order_id, (SELECT c.name FROM customers c WHERE c.customer_id = o.customer_id) AS customer FROM orders o;

-- view above_the_mean
SELECT product_id, price FROM products WHERE price > (SELECT avg(price) FROM products);

-- view share_of_all
SELECT status, count(*) AS orders, (SELECT count(*) FROM orders) AS of_all FROM orders GROUP BY status;

-- view both_conditions
SELECT c.customer_id FROM customers c
WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id)
  AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND o.status = 'open');

-- view either_condition
SELECT o.order_id FROM orders o
WHERE o.status = 'open' OR EXISTS (SELECT FROM shipments s WHERE s.order_id = o.order_id AND s.carrier = 'rail');

-- view dearest_of_the_category
SELECT p.product_id, p.category FROM products p
WHERE NOT EXISTS (SELECT FROM products q WHERE q.category = p.category AND q.price > p.price);

-- view any_of_the_heavy
SELECT o.order_id FROM orders o WHERE o.order_id = ANY (SELECT s.order_id FROM shipments s WHERE s.weight > 6);
