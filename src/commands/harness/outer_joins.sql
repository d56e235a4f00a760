SELECT c.customer_id, c.name AS customer, r.name AS region, o.order_id, o.status, l.line_no, p.name AS product,
       coalesce(l.quantity * l.unit_price, 0) AS amount, s.shipment_id, s.carrier,
       CASE WHEN o.order_id IS NULL THEN 'has not ordered'
            WHEN s.shipment_id IS NULL THEN 'waits'
            WHEN s.shipped_on IS NULL THEN 'is packed'
            ELSE 'is on the way' END AS situation
FROM customers c
FULL JOIN orders o ON o.customer_id = c.customer_id
LEFT JOIN regions r ON r.region_id = c.region_id
LEFT JOIN (order_lines l JOIN products p ON p.product_id = l.product_id AND NOT p.discontinued) ON l.order_id = o.order_id
LEFT JOIN shipments s ON s.order_id = o.order_id AND s.carrier <> 'pickup'
