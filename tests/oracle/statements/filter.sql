-- SELECT order_id, amount * 2 AS twice FROM orders WHERE amount > 10 OR is_paid IS NULL

WITH orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c4 AS amount, c7 AS is_paid, sum(weight)::int8 AS weight_
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c4, c7
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, (orders.amount * (2)::numeric) AS twice, orders.weight_ AS weight_
    FROM orders_changes AS orders
    WHERE ((orders.amount > (10)::numeric) OR (orders.is_paid IS NULL))
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, twice, sum(weight_)::int8 AS weight_
    FROM row_changes
    GROUP BY order_id, twice
    HAVING sum(weight_) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT order_id, twice, weight_, row_number() OVER () AS change_number, hash_record_extended(ROW(order_id, twice), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and equal byte for byte
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_ AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.order_id, stored.twice), 0) = change.row_hash AND ROW(stored.order_id, stored.twice)::record *= ROW(change.order_id, change.twice)::record
        WHERE change.weight_ < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, twice)
    SELECT change.order_id, change.twice
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

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(order_id, twice), 0)));
