-- SELECT a.order_id, b.order_id AS later FROM paid_orders a JOIN paid_orders b ON a.customer_id = b.customer_id AND a.ordered_on < b.ordered_on

WITH orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c3 AS ordered_on, c7 AS is_paid, sum(weight)::int8 AS weight_
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2, c3, c7
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, orders.weight_ AS weight_
    FROM orders_changes AS orders, shop.orders AS orders_2
    WHERE EXISTS (SELECT FROM orders_changes) AND orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
    UNION ALL
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, orders_2.weight_ AS weight_
    FROM shop.orders AS orders, orders_changes AS orders_2
    WHERE EXISTS (SELECT FROM orders_changes) AND orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
    UNION ALL
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, -(orders.weight_ * orders_2.weight_) AS weight_
    FROM orders_changes AS orders, orders_changes AS orders_2
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM orders_changes) AND orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, later, sum(weight_)::int8 AS weight_
    FROM row_changes
    GROUP BY order_id, later
    HAVING sum(weight_) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT order_id, later, weight_, row_number() OVER () AS change_number, hash_record_extended(ROW(order_id, later), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and equal byte for byte
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_ AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.order_id, stored.later), 0) = change.row_hash AND ROW(stored.order_id, stored.later)::record *= ROW(change.order_id, change.later)::record
        WHERE change.weight_ < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, later)
    SELECT change.order_id, change.later
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight_)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight_), 0) FROM numbered_changes WHERE weight_ < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(order_id, later), 0)));
