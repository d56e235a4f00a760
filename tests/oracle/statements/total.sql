-- SELECT count(*) AS n, sum(weight) AS weight, bool_and(is_paid) AS all_paid FROM orders

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
    ) AS is_so
), orders_changes AS (
    -- changes of shop.orders since the watermark
    SELECT c5 AS weight, c7 AS is_paid, weight::int4 AS weight_2
    FROM (
        SELECT c5, c7, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT (orders.weight IS NOT NULL) AS count_1, orders.weight AS sum_2, (orders.is_paid IS TRUE) AS count_3, (orders.is_paid IS FALSE) AS count_4, orders.weight_2 AS weight_2
    FROM orders_changes AS orders
), net_input_changes AS (
    SELECT count_1, sum_2, count_3, count_4, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY count_1, sum_2, scale(sum_2), count_3, count_4
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_2 * sum_2::numeric), 0)::numeric AS sum_2,
           max(scale(sum_2)) FILTER (WHERE weight_2 < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_2) FILTER (WHERE count_3), 0)::int8 AS count_3,
           coalesce(sum(weight_2) FILTER (WHERE count_4), 0)::int8 AS count_4
    FROM net_input_changes
    HAVING count(*) > 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.count_3, 0) + change.count_3 AS count_3,
           coalesce(stored.count_4, 0) + change.count_4 AS count_4,
           stored.row_count AS row_count_before,
           stored.count_1 AS count_1_before,
           stored.sum_2 AS sum_2_before,
           stored.count_3 AS count_3_before,
           stored.count_4 AS count_4_before,
           coalesce((change.sum_2 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)), false) AS is_stale
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
    SELECT row_address, row_count, count_1, sum_2, count_3, count_4, row_count_before, count_1_before, sum_2_before, count_3_before, count_4_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.count_3, 0), coalesce(recomputed.count_4, 0), merged.row_count_before, merged.count_1_before, merged.sum_2_before, merged.count_3_before, merged.count_4_before
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
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT (changed.row_count) AS n, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS weight, (CASE WHEN changed.count_4 > 0 THEN false WHEN changed.count_3 > 0 THEN true END) AS all_paid, true AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE true <> (changed.row_address IS NOT NULL) OR (true AND ROW((changed.row_count), (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END), (CASE WHEN changed.count_4 > 0 THEN false WHEN changed.count_3 > 0 THEN true END))::record *<> ROW((changed.row_count_before), (CASE WHEN changed.count_1_before > 0 THEN changed.sum_2_before END), (CASE WHEN changed.count_4_before > 0 THEN false WHEN changed.count_3_before > 0 THEN true END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.n, target.weight, target.all_paid, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON true
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.n IS DISTINCT FROM target.n OR stored.all_paid IS DISTINCT FROM target.all_paid OR ROW(stored.weight)::record *<> ROW(target.weight)::record))
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM found_rows LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{}'
    ) AS is_so
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND (NOT entry.is_there OR NOT (SELECT is_so FROM in_place))
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET n = entry.n, weight = entry.weight, all_paid = entry.all_paid
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, weight, all_paid)
    SELECT entry.n, entry.weight, entry.all_paid
    FROM found_rows AS entry
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE entry.is_there AND (entry.row_address IS NULL OR NOT (SELECT is_so FROM in_place))
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       (SELECT count(*) FROM updated_rows) AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - (SELECT count(*) FROM updated_rows)
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL))
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0 OR row_address IS NULL))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) AS unforeseen;

-- else
WITH orders_changes AS (
    -- changes of shop.orders since the watermark
    SELECT c5 AS weight, c7 AS is_paid, weight::int4 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT (orders.weight IS NOT NULL) AS count_1, orders.weight AS sum_2, (orders.is_paid IS TRUE) AS count_3, (orders.is_paid IS FALSE) AS count_4, orders.weight_2 AS weight_2
    FROM orders_changes AS orders
), net_input_changes AS (
    SELECT count_1, sum_2, count_3, count_4, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY count_1, sum_2, scale(sum_2), count_3, count_4
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_2 * sum_2::numeric), 0)::numeric AS sum_2,
           max(scale(sum_2)) FILTER (WHERE weight_2 < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_2) FILTER (WHERE count_3), 0)::int8 AS count_3,
           coalesce(sum(weight_2) FILTER (WHERE count_4), 0)::int8 AS count_4
    FROM net_input_changes
    HAVING count(*) > 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.count_3, 0) + change.count_3 AS count_3,
           coalesce(stored.count_4, 0) + change.count_4 AS count_4,
           stored.row_count AS row_count_before,
           stored.count_1 AS count_1_before,
           stored.sum_2 AS sum_2_before,
           stored.count_3 AS count_3_before,
           stored.count_4 AS count_4_before,
           coalesce((change.sum_2 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)), false) AS is_stale
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
    SELECT row_address, row_count, count_1, sum_2, count_3, count_4, row_count_before, count_1_before, sum_2_before, count_3_before, count_4_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.count_3, 0), coalesce(recomputed.count_4, 0), merged.row_count_before, merged.count_1_before, merged.sum_2_before, merged.count_3_before, merged.count_4_before
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
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT (changed.row_count) AS n, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS weight, (CASE WHEN changed.count_4 > 0 THEN false WHEN changed.count_3 > 0 THEN true END) AS all_paid, true AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE true <> (changed.row_address IS NOT NULL) OR (true AND ROW((changed.row_count), (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END), (CASE WHEN changed.count_4 > 0 THEN false WHEN changed.count_3 > 0 THEN true END))::record *<> ROW((changed.row_count_before), (CASE WHEN changed.count_1_before > 0 THEN changed.sum_2_before END), (CASE WHEN changed.count_4_before > 0 THEN false WHEN changed.count_3_before > 0 THEN true END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.n, target.weight, target.all_paid, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON true
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.n IS DISTINCT FROM target.n OR stored.all_paid IS DISTINCT FROM target.all_paid OR ROW(stored.weight)::record *<> ROW(target.weight)::record))
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM found_rows LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{}'
    ) AS is_so
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND (NOT entry.is_there OR NOT (SELECT is_so FROM in_place))
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET n = entry.n, weight = entry.weight, all_paid = entry.all_paid
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, weight, all_paid)
    SELECT entry.n, entry.weight, entry.all_paid
    FROM found_rows AS entry
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE entry.is_there AND (entry.row_address IS NULL OR NOT (SELECT is_so FROM in_place))
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       (SELECT count(*) FROM updated_rows) AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - (SELECT count(*) FROM updated_rows)
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL))
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0 OR row_address IS NULL))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;



CREATE TABLE mvrefresh."state$1" (
    row_count int8 NOT NULL,
    count_1 int8 NOT NULL,
    sum_2 numeric NOT NULL,
    count_3 int8 NOT NULL,
    count_4 int8 NOT NULL
) WITH (fillfactor = 80);

SELECT count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, count(*) FILTER (WHERE count_3) AS count_3, count(*) FILTER (WHERE count_4) AS count_4
FROM (
    SELECT (orders.weight IS NOT NULL) AS count_1, orders.weight AS sum_2, (orders.is_paid IS TRUE) AS count_3, (orders.is_paid IS FALSE) AS count_4
    FROM shop.orders AS orders
) AS input_rows;

