-- SELECT c.region, count(*) AS n, sum(o.amount) AS total, avg(o.amount) AS mean FROM orders o JOIN customers c USING (customer_id) GROUP BY c.region HAVING count(*) > 1

-- if nothing is pending but in mvrefresh."log$1"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, c3 AS region, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c3, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, orders.amount AS sum_1, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE (orders.customer_id = customers.customer_id)
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2 * sum_1::numeric), 0)::numeric AS sum_1
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0 OR coalesce(sum(weight_2 * sum_1::numeric), 0)::numeric <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.sum_1, 0) + change.sum_1 AS sum_1,
           stored.row_count AS row_count_before,
           stored.sum_1 AS sum_1_before,
           coalesce((change.sum_1 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_1 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON hash_record_extended(ROW(stored.key_1), 0) = hash_record_extended(ROW(change.key_1), 0) AND stored.key_1 IS NOT DISTINCT FROM change.key_1
), new_groups AS (
    SELECT key_1, row_address, row_count, sum_1, row_count_before, sum_1_before
    FROM merged_groups
    WHERE NOT (SELECT coalesce(bool_or(is_stale), false) FROM merged_groups)
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, sum_1 = changed.sum_1
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, sum_1)
    SELECT key_1, row_count, sum_1 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS region, (changed.row_count) AS n, (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END) AS mean, (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AS is_there, (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) <> (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) OR ((changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AND ROW(changed.key_1, (changed.row_count), (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END))::record *<> ROW(changed.key_1, (changed.row_count_before), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before::numeric / changed.row_count_before::numeric END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.n, target.total, target.mean, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.n IS DISTINCT FROM target.n OR ROW(stored.total, stored.mean)::record *<> ROW(target.total, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET n = entry.n, total = entry.total, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, n, total, mean)
    SELECT entry.region, entry.n, entry.total, entry.mean
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
       NOT (SELECT is_so FROM foreseen) OR (SELECT coalesce(bool_or(is_stale), false) FROM merged_groups) AS unforeseen;

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_2 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_2) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), orders_changes AS (
    -- changes of shop.orders since the watermark
    SELECT c2 AS customer_id, c4 AS amount, weight::int4 AS weight_2
    FROM (
        SELECT c2, c4, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, orders.amount AS sum_1, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE (orders.customer_id = customers.customer_id)
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(CASE WHEN weight_2 > 0 THEN sum_1::numeric ELSE -(sum_1::numeric) END), 0)::numeric AS sum_1
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0 OR coalesce(sum(CASE WHEN weight_2 > 0 THEN sum_1::numeric ELSE -(sum_1::numeric) END), 0)::numeric <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.sum_1, 0) + change.sum_1 AS sum_1,
           stored.row_count AS row_count_before,
           stored.sum_1 AS sum_1_before,
           coalesce((change.sum_1 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_1 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON hash_record_extended(ROW(stored.key_1), 0) = hash_record_extended(ROW(change.key_1), 0) AND stored.key_1 IS NOT DISTINCT FROM change.key_1
), new_groups AS (
    SELECT key_1, row_address, row_count, sum_1, row_count_before, sum_1_before
    FROM merged_groups
    WHERE NOT (SELECT coalesce(bool_or(is_stale), false) FROM merged_groups)
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, sum_1 = changed.sum_1
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, sum_1)
    SELECT key_1, row_count, sum_1 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS region, (changed.row_count) AS n, (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END) AS mean, (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AS is_there, (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) <> (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) OR ((changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AND ROW(changed.key_1, (changed.row_count), (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END))::record *<> ROW(changed.key_1, (changed.row_count_before), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before::numeric / changed.row_count_before::numeric END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.n, target.total, target.mean, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.n IS DISTINCT FROM target.n OR ROW(stored.total, stored.mean)::record *<> ROW(target.total, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET n = entry.n, total = entry.total, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, n, total, mean)
    SELECT entry.region, entry.n, entry.total, entry.mean
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
       NOT (SELECT is_so FROM foreseen) OR (SELECT coalesce(bool_or(is_stale), false) FROM merged_groups) AS unforeseen;

-- if nothing is pending but in mvrefresh."log$1" and mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
        AND (SELECT count(*) < at_most_2 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_2) AS pending)
    ) AS is_so
), customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, c3 AS region, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c3, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c2, c4, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c2, c4
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, orders.amount AS sum_1, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customers.region AS key_1, orders.amount AS sum_1, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customers.region AS key_1, orders.amount AS sum_1, -(orders.weight_2 * customers.weight_2) AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2 * sum_1::numeric), 0)::numeric AS sum_1
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0 OR coalesce(sum(weight_2 * sum_1::numeric), 0)::numeric <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.sum_1, 0) + change.sum_1 AS sum_1,
           stored.row_count AS row_count_before,
           stored.sum_1 AS sum_1_before,
           coalesce((change.sum_1 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_1 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON hash_record_extended(ROW(stored.key_1), 0) = hash_record_extended(ROW(change.key_1), 0) AND stored.key_1 IS NOT DISTINCT FROM change.key_1
), new_groups AS (
    SELECT key_1, row_address, row_count, sum_1, row_count_before, sum_1_before
    FROM merged_groups
    WHERE NOT (SELECT coalesce(bool_or(is_stale), false) FROM merged_groups)
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, sum_1 = changed.sum_1
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, sum_1)
    SELECT key_1, row_count, sum_1 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS region, (changed.row_count) AS n, (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END) AS mean, (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AS is_there, (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) <> (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) OR ((changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AND ROW(changed.key_1, (changed.row_count), (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END))::record *<> ROW(changed.key_1, (changed.row_count_before), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before::numeric / changed.row_count_before::numeric END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.n, target.total, target.mean, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.n IS DISTINCT FROM target.n OR ROW(stored.total, stored.mean)::record *<> ROW(target.total, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET n = entry.n, total = entry.total, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, n, total, mean)
    SELECT entry.region, entry.n, entry.total, entry.mean
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
       NOT (SELECT is_so FROM foreseen) OR (SELECT coalesce(bool_or(is_stale), false) FROM merged_groups) AS unforeseen;

-- else
WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, c3 AS region, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c2, c4
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, orders.amount AS sum_1, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customers.region AS key_1, orders.amount AS sum_1, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customers.region AS key_1, orders.amount AS sum_1, -(orders.weight_2 * customers.weight_2) AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2 * sum_1::numeric), 0)::numeric AS sum_1
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0 OR coalesce(sum(weight_2 * sum_1::numeric), 0)::numeric <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.sum_1, 0) + change.sum_1 AS sum_1,
           stored.row_count AS row_count_before,
           stored.sum_1 AS sum_1_before,
           coalesce((change.sum_1 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_1 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON hash_record_extended(ROW(stored.key_1), 0) = hash_record_extended(ROW(change.key_1), 0) AND stored.key_1 IS NOT DISTINCT FROM change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, coalesce(sum(sum_1), 0)::numeric AS sum_1
    FROM (
        SELECT customers.region AS key_1, orders.amount AS sum_1
        FROM shop.orders AS orders, shop.customers AS customers, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND customers.region = stale_groups.key_1
        UNION ALL
        SELECT customers.region AS key_1, orders.amount AS sum_1
        FROM shop.orders AS orders, shop.customers AS customers, (SELECT key_1 FROM merged_groups WHERE is_stale AND (key_1 IS NULL)) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND hash_record_extended(ROW(customers.region), 0) = hash_record_extended(ROW(stale_groups.key_1), 0) AND customers.region IS NOT DISTINCT FROM stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, sum_1, row_count_before, sum_1_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.sum_1, 0), merged.row_count_before, merged.sum_1_before
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON hash_record_extended(ROW(merged.key_1), 0) = hash_record_extended(ROW(recomputed.key_1), 0) AND merged.key_1 IS NOT DISTINCT FROM recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, sum_1 = changed.sum_1
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, sum_1)
    SELECT key_1, row_count, sum_1 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS region, (changed.row_count) AS n, (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END) AS mean, (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AS is_there, (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) <> (changed.row_address IS NOT NULL AND coalesce(((changed.row_count_before) > 1), false)) OR ((changed.row_count > 0 AND coalesce(((changed.row_count) > 1), false)) AND ROW(changed.key_1, (changed.row_count), (CASE WHEN changed.row_count > 0 THEN changed.sum_1 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_1::numeric / changed.row_count::numeric END))::record *<> ROW(changed.key_1, (changed.row_count_before), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_1_before::numeric / changed.row_count_before::numeric END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.n, target.total, target.mean, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.n IS DISTINCT FROM target.n OR ROW(stored.total, stored.mean)::record *<> ROW(target.total, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET n = entry.n, total = entry.total, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, n, total, mean)
    SELECT entry.region, entry.n, entry.total, entry.mean
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
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(region), 0)));

CREATE TABLE mvrefresh."state$1" (
    key_1 text COLLATE "pg_catalog"."default",
    row_count int8 NOT NULL,
    sum_1 numeric NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX ON mvrefresh."state$1" ((hash_record_extended(ROW(key_1), 0)));

SELECT key_1, count(*) AS row_count, coalesce(sum(sum_1), 0)::numeric AS sum_1
FROM (
    SELECT customers.region AS key_1, orders.amount AS sum_1
    FROM shop.orders AS orders, shop.customers AS customers
    WHERE (orders.customer_id = customers.customer_id)
) AS input_rows
GROUP BY key_1;

-- customers is looked up by customer_id
-- orders is looked up by customer_id
