-- SELECT count(*) AS n, sum(weight) AS weight, bool_and(is_paid) AS all_paid FROM orders

WITH orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c5 AS weight, c7 AS is_paid, weight::int8 AS weight_
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT (orders.weight IS NOT NULL) AS count_1, orders.weight AS sum_2, (orders.is_paid IS TRUE) AS count_3, (orders.is_paid IS FALSE) AS count_4, orders.weight_ AS weight_
    FROM orders_changes AS orders
), net_input_changes AS (
    SELECT count_1, sum_2, count_3, count_4, sum(weight_)::int8 AS weight_
    FROM input_changes
    GROUP BY count_1, sum_2, scale(sum_2), count_3, count_4
    HAVING sum(weight_) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT coalesce(sum(weight_), 0)::int8 AS row_count,
           coalesce(sum(weight_) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_ * sum_2::numeric) FILTER (WHERE sum_2 NOT IN ('NaN', 'Infinity', '-Infinity')), 0)::numeric AS sum_2,
           coalesce(bool_or(sum_2 IN ('NaN', 'Infinity', '-Infinity')), false) AS sum_2_not_finite,
           max(scale(sum_2)) FILTER (WHERE weight_ < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_) FILTER (WHERE count_3), 0)::int8 AS count_3,
           coalesce(sum(weight_) FILTER (WHERE count_4), 0)::int8 AS count_4
    FROM net_input_changes
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.count_3, 0) + change.count_3 AS count_3,
           coalesce(stored.count_4, 0) + change.count_4 AS count_4,
           coalesce((change.sum_2_not_finite OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON true
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, count(*) FILTER (WHERE count_3) AS count_3, count(*) FILTER (WHERE count_4) AS count_4
    FROM (
        SELECT (orders.weight IS NOT NULL) AS count_1, orders.weight AS sum_2, (orders.is_paid IS TRUE) AS count_3, (orders.is_paid IS FALSE) AS count_4
        FROM shop.orders AS orders, (SELECT  FROM merged_groups WHERE is_stale) AS stale_groups
    ) AS input_rows
), new_groups AS MATERIALIZED (
    SELECT row_address, row_count, count_1, sum_2, count_3, count_4
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.count_3, 0), coalesce(recomputed.count_4, 0)
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON true
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (true)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, count_1 = changed.count_1, sum_2 = changed.sum_2, count_3 = changed.count_3, count_4 = changed.count_4
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND true
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (row_count, count_1, sum_2, count_3, count_4)
    SELECT row_count, count_1, sum_2, count_3, count_4 FROM new_groups WHERE row_address IS NULL AND true
), row_changes AS (
    -- the rows of changed groups: minus as they were, plus as they are
    SELECT (stored.row_count) AS n, (CASE WHEN stored.count_1 > 0 THEN stored.sum_2 END) AS weight, (CASE WHEN stored.count_4 > 0 THEN false WHEN stored.count_3 > 0 THEN true END) AS all_paid, -1 AS weight_
    FROM new_groups AS changed JOIN ONLY mvrefresh."state$1" AS stored ON stored.ctid = changed.row_address
    WHERE true
    UNION ALL
    SELECT (changed.row_count) AS n, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS weight, (CASE WHEN changed.count_4 > 0 THEN false WHEN changed.count_3 > 0 THEN true END) AS all_paid, 1 AS weight_
    FROM new_groups AS changed
    WHERE true
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT n, (array_agg(weight))[1] AS weight, all_paid, sum(weight_)::int8 AS weight_
    FROM row_changes
    GROUP BY n, weight, scale(weight), all_paid
    HAVING sum(weight_) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT n, weight, all_paid, weight_, row_number() OVER () AS change_number, hash_record_extended(ROW(n, weight, all_paid), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and equal byte for byte
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_ AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.n, stored.weight, stored.all_paid), 0) = change.row_hash AND ROW(stored.n, stored.weight, stored.all_paid)::record *= ROW(change.n, change.weight, change.all_paid)::record
        WHERE change.weight_ < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, weight, all_paid)
    SELECT change.n, change.weight, change.all_paid
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
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0 OR row_address IS NULL))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(n, weight, all_paid), 0)));

CREATE TABLE mvrefresh."state$1" (
    row_count int8 NOT NULL,
    count_1 int8 NOT NULL,
    sum_2 numeric NOT NULL,
    count_3 int8 NOT NULL,
    count_4 int8 NOT NULL
);

SELECT count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, count(*) FILTER (WHERE count_3) AS count_3, count(*) FILTER (WHERE count_4) AS count_4
FROM (
    SELECT (orders.weight IS NOT NULL) AS count_1, orders.weight AS sum_2, (orders.is_paid IS TRUE) AS count_3, (orders.is_paid IS FALSE) AS count_4
    FROM shop.orders AS orders
) AS input_rows;
