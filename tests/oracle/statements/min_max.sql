-- SELECT customer_id, min(ordered_on) AS first, max(ordered_on) FILTER (WHERE is_paid) AS last_paid FROM orders GROUP BY customer_id

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
    ) AS is_so
), orders_changes AS (
    -- changes of shop.orders since the watermark
    SELECT c2 AS customer_id, c3 AS ordered_on, c7 AS is_paid, weight::int4 AS weight_2
    FROM (
        SELECT c2, c3, c7, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT orders.customer_id AS key_1, orders.ordered_on AS min_1, CASE WHEN orders.is_paid THEN orders.ordered_on END AS max_2, orders.weight_2 AS weight_2
    FROM orders_changes AS orders
), net_input_changes AS (
    SELECT key_1, min_1, max_2, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY key_1, min_1, max_2
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           min(min_1) FILTER (WHERE weight_2 > 0) AS min_1,
           min(min_1) FILTER (WHERE weight_2 < 0) AS min_1_gone,
           max(max_2) FILTER (WHERE weight_2 > 0) AS max_2,
           max(max_2) FILTER (WHERE weight_2 < 0) AS max_2_gone
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           least(stored.min_1, change.min_1) AS min_1,
           greatest(stored.max_2, change.max_2) AS max_2,
           stored.row_count AS row_count_before,
           stored.min_1 AS min_1_before,
           stored.max_2 AS max_2_before,
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
    SELECT key_1, row_address, row_count, min_1, max_2, row_count_before, min_1_before, max_2_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), recomputed.min_1, recomputed.max_2, merged.row_count_before, merged.min_1_before, merged.max_2_before
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
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS customer_id, (changed.min_1) AS first, (changed.max_2) AS last_paid, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1, (changed.min_1), (changed.max_2))::record *<> ROW(changed.key_1, (changed.min_1_before), (changed.max_2_before))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.customer_id, target.first, target.last_paid, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.customer_id = target.customer_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.first IS DISTINCT FROM target.first OR stored.last_paid IS DISTINCT FROM target.last_paid))
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM found_rows LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{1}'
    ) AS is_so
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND (NOT entry.is_there OR NOT (SELECT is_so FROM in_place))
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET first = entry.first, last_paid = entry.last_paid
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (customer_id, first, last_paid)
    SELECT entry.customer_id, entry.first, entry.last_paid
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
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) AS unforeseen;

-- else
WITH orders_changes AS (
    -- changes of shop.orders since the watermark
    SELECT c2 AS customer_id, c3 AS ordered_on, c7 AS is_paid, weight::int4 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT orders.customer_id AS key_1, orders.ordered_on AS min_1, CASE WHEN orders.is_paid THEN orders.ordered_on END AS max_2, orders.weight_2 AS weight_2
    FROM orders_changes AS orders
), net_input_changes AS (
    SELECT key_1, min_1, max_2, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY key_1, min_1, max_2
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           min(min_1) FILTER (WHERE weight_2 > 0) AS min_1,
           min(min_1) FILTER (WHERE weight_2 < 0) AS min_1_gone,
           max(max_2) FILTER (WHERE weight_2 > 0) AS max_2,
           max(max_2) FILTER (WHERE weight_2 < 0) AS max_2_gone
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           least(stored.min_1, change.min_1) AS min_1,
           greatest(stored.max_2, change.max_2) AS max_2,
           stored.row_count AS row_count_before,
           stored.min_1 AS min_1_before,
           stored.max_2 AS max_2_before,
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
    SELECT key_1, row_address, row_count, min_1, max_2, row_count_before, min_1_before, max_2_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), recomputed.min_1, recomputed.max_2, merged.row_count_before, merged.min_1_before, merged.max_2_before
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
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS customer_id, (changed.min_1) AS first, (changed.max_2) AS last_paid, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1, (changed.min_1), (changed.max_2))::record *<> ROW(changed.key_1, (changed.min_1_before), (changed.max_2_before))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.customer_id, target.first, target.last_paid, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.customer_id = target.customer_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.first IS DISTINCT FROM target.first OR stored.last_paid IS DISTINCT FROM target.last_paid))
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM found_rows LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{1}'
    ) AS is_so
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND (NOT entry.is_there OR NOT (SELECT is_so FROM in_place))
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET first = entry.first, last_paid = entry.last_paid
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (customer_id, first, last_paid)
    SELECT entry.customer_id, entry.first, entry.last_paid
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
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv (customer_id);

CREATE TABLE mvrefresh."state$1" (
    key_1 int4,
    row_count int8 NOT NULL,
    min_1 date,
    max_2 date
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX ON mvrefresh."state$1" (key_1);

SELECT key_1, count(*) AS row_count, min(min_1) AS min_1, max(max_2) AS max_2
FROM (
    SELECT orders.customer_id AS key_1, orders.ordered_on AS min_1, CASE WHEN orders.is_paid THEN orders.ordered_on END AS max_2
    FROM shop.orders AS orders
) AS input_rows
GROUP BY key_1;

-- orders is looked up by customer_id
