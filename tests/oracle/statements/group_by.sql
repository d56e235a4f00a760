-- SELECT c.region, count(*) AS n, sum(o.amount) AS total, avg(o.amount) AS mean FROM orders o JOIN customers c USING (customer_id) GROUP BY c.region HAVING count(*) > 1

WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, c3 AS region, sum(weight)::int8 AS weight_
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c2, c4
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, (orders.amount IS NOT NULL) AS count_1, orders.amount AS sum_2, orders.weight_ AS weight_
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customers.region AS key_1, (orders.amount IS NOT NULL) AS count_1, orders.amount AS sum_2, customers.weight_ AS weight_
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customers.region AS key_1, (orders.amount IS NOT NULL) AS count_1, orders.amount AS sum_2, -(orders.weight_ * customers.weight_) AS weight_
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
), net_input_changes AS (
    SELECT key_1, count_1, sum_2, sum(weight_)::int8 AS weight_
    FROM input_changes
    GROUP BY key_1, count_1, sum_2
    HAVING sum(weight_) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_), 0)::int8 AS row_count,
           coalesce(sum(weight_) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_ * sum_2::numeric) FILTER (WHERE sum_2 NOT IN ('NaN', 'Infinity', '-Infinity')), 0)::numeric AS sum_2,
           coalesce(bool_or(sum_2 IN ('NaN', 'Infinity', '-Infinity')), false) AS sum_2_not_finite
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce((change.sum_2_not_finite OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON hash_record_extended(ROW(stored.key_1), 0) = hash_record_extended(ROW(change.key_1), 0) AND stored.key_1 IS NOT DISTINCT FROM change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2
    FROM (
        SELECT customers.region AS key_1, (orders.amount IS NOT NULL) AS count_1, orders.amount AS sum_2
        FROM shop.orders AS orders, shop.customers AS customers, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND customers.region IS NOT DISTINCT FROM stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, count_1, sum_2
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0)
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON hash_record_extended(ROW(merged.key_1), 0) = hash_record_extended(ROW(recomputed.key_1), 0) AND merged.key_1 IS NOT DISTINCT FROM recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, count_1 = changed.count_1, sum_2 = changed.sum_2
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, count_1, sum_2)
    SELECT key_1, row_count, count_1, sum_2 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), row_changes AS (
    -- the rows of changed groups: minus as they were, plus as they are
    SELECT stored.key_1 AS region, (stored.row_count) AS n, (CASE WHEN stored.count_1 > 0 THEN stored.sum_2 END) AS total, (CASE WHEN stored.count_1 > 0 THEN stored.sum_2::numeric / stored.count_1::numeric END) AS mean, -1 AS weight_
    FROM new_groups AS changed JOIN ONLY mvrefresh."state$1" AS stored ON stored.ctid = changed.row_address
    WHERE stored.row_count > 0 AND ((stored.row_count) > 1)
    UNION ALL
    SELECT changed.key_1 AS region, (changed.row_count) AS n, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS total, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2::numeric / changed.count_1::numeric END) AS mean, 1 AS weight_
    FROM new_groups AS changed
    WHERE changed.row_count > 0 AND ((changed.row_count) > 1)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT region, n, (array_agg(total))[1] AS total, (array_agg(mean))[1] AS mean, sum(weight_)::int8 AS weight_
    FROM row_changes
    GROUP BY region, n, total, scale(total), mean, scale(mean)
    HAVING sum(weight_) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT region, n, total, mean, weight_, row_number() OVER () AS change_number, hash_record_extended(ROW(region, n, total, mean), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and equal byte for byte
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_ AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region, stored.n, stored.total, stored.mean), 0) = change.row_hash AND ROW(stored.region, stored.n, stored.total, stored.mean)::record *= ROW(change.region, change.n, change.total, change.mean)::record
        WHERE change.weight_ < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, n, total, mean)
    SELECT change.region, change.n, change.total, change.mean
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
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(region, n, total, mean), 0)));

CREATE TABLE mvrefresh."state$1" (
    key_1 text COLLATE "pg_catalog"."default",
    row_count int8 NOT NULL,
    count_1 int8 NOT NULL,
    sum_2 numeric NOT NULL
);
CREATE INDEX ON mvrefresh."state$1" ((hash_record_extended(ROW(key_1), 0)));

SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2
FROM (
    SELECT customers.region AS key_1, (orders.amount IS NOT NULL) AS count_1, orders.amount AS sum_2
    FROM shop.orders AS orders, shop.customers AS customers
    WHERE (orders.customer_id = customers.customer_id)
) AS input_rows
GROUP BY key_1;
