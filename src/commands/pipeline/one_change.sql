UPDATE orders SET status = CASE status WHEN 'open' THEN 'paid' WHEN 'paid' THEN 'sent' ELSE 'open' END
WHERE order_id = (SELECT min(order_id) FROM orders WHERE customer_id IS NOT NULL);
