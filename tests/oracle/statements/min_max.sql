-- SELECT customer_id, min(ordered_on) AS first, max(ordered_on) FILTER (WHERE is_paid) AS last_paid FROM orders GROUP BY customer_id

WITH orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c2 AS customer_id, c3 AS ordered_on, c7 AS is_paid, sum(weight)::int8 AS weight_
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c2, c3, c7
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT orders.customer_id AS key_1, orders.ordered_on AS min_1, CASE WHEN orders.is_paid THEN orders.ordered_on END AS max_2, orders.weight_ AS weight_
    FROM orders_changes AS orders
), net_input_changes AS (
    SELECT key_1, min_1, max_2, sum(weight_)::int8 AS weight_
    FROM input_changes
    GROUP BY key_1, min_1, max_2
    HAVING sum(weight_) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_), 0)::int8 AS row_count,
           min(min_1) FILTER (WHERE weight_ > 0) AS min_1,
           min(min_1) FILTER (WHERE weight_ < 0) AS min_1_gone,
           max(max_2) FILTER (WHERE weight_ > 0) AS max_2,
           max(max_2) FILTER (WHERE weight_ < 0) AS max_2_gone
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           least(stored.min_1, change.min_1) AS min_1,
           greatest(stored.max_2, change.max_2) AS max_2,
           coalesce((change.min_1_gone <= stored.min_1) OR (change.max_2_gone >= stored.max_2), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON stored.key_1 = change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, min(min_1) AS min_1, max(max_2) AS max_2
    FROM (
        SELECT orders.customer_id AS key_1, orders.ordered_on AS min_1, CASE WHEN orders.is_paid THEN orders.ordered_on END AS max_2
        FROM shop.orders AS orders, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE orders.customer_id = stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, min_1, max_2
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), recomputed.min_1, recomputed.max_2
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON merged.key_1 = recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, min_1 = changed.min_1, max_2 = changed.max_2
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, min_1, max_2)
    SELECT key_1, row_count, min_1, max_2 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), row_changes AS (
    -- the rows of changed groups: minus as they were, plus as they are
    SELECT stored.key_1 AS customer_id, (stored.min_1) AS first, (stored.max_2) AS last_paid, -1 AS weight_
    FROM new_groups AS changed JOIN ONLY mvrefresh."state$1" AS stored ON stored.ctid = changed.row_address
    WHERE stored.row_count > 0
    UNION ALL
    SELECT changed.key_1 AS customer_id, (changed.min_1) AS first, (changed.max_2) AS last_paid, 1 AS weight_
    FROM new_groups AS changed
    WHERE changed.row_count > 0
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT customer_id, first, last_paid, sum(weight_)::int8 AS weight_
    FROM row_changes
    GROUP BY customer_id, first, last_paid
    HAVING sum(weight_) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT customer_id, first, last_paid, weight_, row_number() OVER () AS change_number, hash_record_extended(ROW(customer_id, first, last_paid), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and equal byte for byte
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_ AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.customer_id, stored.first, stored.last_paid), 0) = change.row_hash AND ROW(stored.customer_id, stored.first, stored.last_paid)::record *= ROW(change.customer_id, change.first, change.last_paid)::record
        WHERE change.weight_ < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (customer_id, first, last_paid)
    SELECT change.customer_id, change.first, change.last_paid
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
       ((SELECT coalesce(sum(-weight_), 0) FROM numbered_changes WHERE weight_ < 0) - (SELECT count(*) FROM deleted_rows)
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(customer_id, first, last_paid), 0)));

CREATE TABLE mvrefresh."state$1" (
    key_1 int4,
    row_count int8 NOT NULL,
    min_1 date,
    max_2 date
);
CREATE UNIQUE INDEX ON mvrefresh."state$1" (key_1);

SELECT key_1, count(*) AS row_count, min(min_1) AS min_1, max(max_2) AS max_2
FROM (
    SELECT orders.customer_id AS key_1, orders.ordered_on AS min_1, CASE WHEN orders.is_paid THEN orders.ordered_on END AS max_2
    FROM shop.orders AS orders
) AS input_rows
GROUP BY key_1;
