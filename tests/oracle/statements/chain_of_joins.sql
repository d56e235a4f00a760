-- SELECT later.name, sum(o.amount * (1 - o.discount::numeric)) AS total, sum(o.amount * o.order_id) AS weighed FROM orders o, customers c, customers later WHERE o.customer_id = c.customer_id AND later.name > c.name AND o.is_paid GROUP BY later.name

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
    SELECT c1 AS customer_id, c2 AS name, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, shop.customers AS customers_2
    WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, customers_2.weight_2 AS weight_2
    FROM shop.orders AS orders, shop.customers AS customers, customers_changes AS customers_2
    WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, -(customers.weight_2 * customers_2.weight_2) AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, customers_changes AS customers_2
    WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
), net_input_changes AS (
    SELECT key_1, count_1, sum_2, sum_3, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY key_1, count_1, sum_2, scale(sum_2), sum_3
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_2 * sum_2::numeric), 0)::numeric AS sum_2,
           max(scale(sum_2)) FILTER (WHERE weight_2 < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_2 * sum_3::numeric), 0)::numeric AS sum_3
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.sum_3, 0) + change.sum_3 AS sum_3,
           stored.row_count AS row_count_before,
           stored.count_1 AS count_1_before,
           stored.sum_2 AS sum_2_before,
           stored.sum_3 AS sum_3_before,
           coalesce((change.sum_2 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)) OR (change.sum_3 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_3 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON stored.key_1 = change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, coalesce(sum(sum_3), 0)::numeric AS sum_3
    FROM (
        SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3
        FROM shop.orders AS orders, shop.customers AS customers, shop.customers AS customers_2, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid AND customers_2.name = stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, count_1, sum_2, sum_3, row_count_before, count_1_before, sum_2_before, sum_3_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.sum_3, 0), merged.row_count_before, merged.count_1_before, merged.sum_2_before, merged.sum_3_before
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON merged.key_1 = recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, count_1 = changed.count_1, sum_2 = changed.sum_2, sum_3 = changed.sum_3
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, count_1, sum_2, sum_3)
    SELECT key_1, row_count, count_1, sum_2, sum_3 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS name, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END) AS weighed, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END))::record *<> ROW(changed.key_1, (CASE WHEN changed.count_1_before > 0 THEN changed.sum_2_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_3_before END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.name, target.total, target.weighed, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.name = target.name
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (ROW(stored.total, stored.weighed)::record *<> ROW(target.total, target.weighed)::record))
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
    UPDATE ONLY shop.mv AS stored SET total = entry.total, weighed = entry.weighed
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, total, weighed)
    SELECT entry.name, entry.total, entry.weighed
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

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_2 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_2) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), orders_changes AS MATERIALIZED (
    -- changes of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, c6 AS discount, c7 AS is_paid, weight::int4 AS weight_2
    FROM (
        SELECT c1, c2, c4, c6, c7, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, shop.customers AS customers_2
    WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
), net_input_changes AS (
    SELECT key_1, count_1, sum_2, sum_3, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY key_1, count_1, sum_2, scale(sum_2), sum_3
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_2 * sum_2::numeric), 0)::numeric AS sum_2,
           max(scale(sum_2)) FILTER (WHERE weight_2 < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_2 * sum_3::numeric), 0)::numeric AS sum_3
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.sum_3, 0) + change.sum_3 AS sum_3,
           stored.row_count AS row_count_before,
           stored.count_1 AS count_1_before,
           stored.sum_2 AS sum_2_before,
           stored.sum_3 AS sum_3_before,
           coalesce((change.sum_2 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)) OR (change.sum_3 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_3 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON stored.key_1 = change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, coalesce(sum(sum_3), 0)::numeric AS sum_3
    FROM (
        SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3
        FROM shop.orders AS orders, shop.customers AS customers, shop.customers AS customers_2, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid AND customers_2.name = stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, count_1, sum_2, sum_3, row_count_before, count_1_before, sum_2_before, sum_3_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.sum_3, 0), merged.row_count_before, merged.count_1_before, merged.sum_2_before, merged.sum_3_before
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON merged.key_1 = recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, count_1 = changed.count_1, sum_2 = changed.sum_2, sum_3 = changed.sum_3
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, count_1, sum_2, sum_3)
    SELECT key_1, row_count, count_1, sum_2, sum_3 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS name, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END) AS weighed, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END))::record *<> ROW(changed.key_1, (CASE WHEN changed.count_1_before > 0 THEN changed.sum_2_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_3_before END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.name, target.total, target.weighed, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.name = target.name
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (ROW(stored.total, stored.weighed)::record *<> ROW(target.total, target.weighed)::record))
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
    UPDATE ONLY shop.mv AS stored SET total = entry.total, weighed = entry.weighed
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, total, weighed)
    SELECT entry.name, entry.total, entry.weighed
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
    SELECT c1 AS customer_id, c2 AS name, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- changes of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, c6 AS discount, c7 AS is_paid, weight::int4 AS weight_2
    FROM (
        SELECT c1, c2, c4, c6, c7, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, shop.customers AS customers_2
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, shop.customers AS customers_2
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (changed_together.discount IS NOT NULL) AS count_1, (changed_together.amount * ((1)::numeric - (changed_together.discount)::numeric)) AS sum_2, (changed_together.amount * (changed_together.order_id)::numeric) AS sum_3, -(changed_together.weight_2) AS weight_2
    FROM shop.customers AS customers_2, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.amount, orders.discount, customers.name, orders.weight_2 * customers.weight_2 AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE (orders.customer_id = customers.customer_id) AND orders.is_paid
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (customers_2.name > changed_together.name)
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, customers_2.weight_2 AS weight_2
    FROM shop.orders AS orders, shop.customers AS customers, customers_changes AS customers_2
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, -(orders.weight_2 * customers_2.weight_2) AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, customers_changes AS customers_2
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, -(customers.weight_2 * customers_2.weight_2) AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, customers_changes AS customers_2
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (changed_together.discount IS NOT NULL) AS count_1, (changed_together.amount * ((1)::numeric - (changed_together.discount)::numeric)) AS sum_2, (changed_together.amount * (changed_together.order_id)::numeric) AS sum_3, customers_2.weight_2 * changed_together.weight_2 AS weight_2
    FROM customers_changes AS customers_2, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.amount, orders.discount, customers.name, orders.weight_2 * customers.weight_2 AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE (orders.customer_id = customers.customer_id) AND orders.is_paid
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM customers_changes) AND (customers_2.name > changed_together.name)
), net_input_changes AS (
    SELECT key_1, count_1, sum_2, sum_3, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY key_1, count_1, sum_2, scale(sum_2), sum_3
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_2 * sum_2::numeric), 0)::numeric AS sum_2,
           max(scale(sum_2)) FILTER (WHERE weight_2 < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_2 * sum_3::numeric), 0)::numeric AS sum_3
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.sum_3, 0) + change.sum_3 AS sum_3,
           stored.row_count AS row_count_before,
           stored.count_1 AS count_1_before,
           stored.sum_2 AS sum_2_before,
           stored.sum_3 AS sum_3_before,
           coalesce((change.sum_2 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)) OR (change.sum_3 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_3 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON stored.key_1 = change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, coalesce(sum(sum_3), 0)::numeric AS sum_3
    FROM (
        SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3
        FROM shop.orders AS orders, shop.customers AS customers, shop.customers AS customers_2, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid AND customers_2.name = stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, count_1, sum_2, sum_3, row_count_before, count_1_before, sum_2_before, sum_3_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.sum_3, 0), merged.row_count_before, merged.count_1_before, merged.sum_2_before, merged.sum_3_before
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON merged.key_1 = recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, count_1 = changed.count_1, sum_2 = changed.sum_2, sum_3 = changed.sum_3
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, count_1, sum_2, sum_3)
    SELECT key_1, row_count, count_1, sum_2, sum_3 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS name, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END) AS weighed, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END))::record *<> ROW(changed.key_1, (CASE WHEN changed.count_1_before > 0 THEN changed.sum_2_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_3_before END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.name, target.total, target.weighed, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.name = target.name
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (ROW(stored.total, stored.weighed)::record *<> ROW(target.total, target.weighed)::record))
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
    UPDATE ONLY shop.mv AS stored SET total = entry.total, weighed = entry.weighed
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, total, weighed)
    SELECT entry.name, entry.total, entry.weighed
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
WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, c2 AS name, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- changes of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, c6 AS discount, c7 AS is_paid, weight::int4 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, shop.customers AS customers_2
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, shop.customers AS customers_2
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (changed_together.discount IS NOT NULL) AS count_1, (changed_together.amount * ((1)::numeric - (changed_together.discount)::numeric)) AS sum_2, (changed_together.amount * (changed_together.order_id)::numeric) AS sum_3, -(changed_together.weight_2) AS weight_2
    FROM shop.customers AS customers_2, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.amount, orders.discount, customers.name, orders.weight_2 * customers.weight_2 AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE (orders.customer_id = customers.customer_id) AND orders.is_paid
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (customers_2.name > changed_together.name)
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, customers_2.weight_2 AS weight_2
    FROM shop.orders AS orders, shop.customers AS customers, customers_changes AS customers_2
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, -(orders.weight_2 * customers_2.weight_2) AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, customers_changes AS customers_2
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3, -(customers.weight_2 * customers_2.weight_2) AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, customers_changes AS customers_2
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
    UNION ALL
    SELECT customers_2.name AS key_1, (changed_together.discount IS NOT NULL) AS count_1, (changed_together.amount * ((1)::numeric - (changed_together.discount)::numeric)) AS sum_2, (changed_together.amount * (changed_together.order_id)::numeric) AS sum_3, customers_2.weight_2 * changed_together.weight_2 AS weight_2
    FROM customers_changes AS customers_2, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.amount, orders.discount, customers.name, orders.weight_2 * customers.weight_2 AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE (orders.customer_id = customers.customer_id) AND orders.is_paid
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM customers_changes) AND (customers_2.name > changed_together.name)
), net_input_changes AS (
    SELECT key_1, count_1, sum_2, sum_3, sum(weight_2)::int8 AS weight_2
    FROM input_changes
    GROUP BY key_1, count_1, sum_2, scale(sum_2), sum_3
    HAVING sum(weight_2) <> 0
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count,
           coalesce(sum(weight_2) FILTER (WHERE count_1), 0)::int8 AS count_1,
           coalesce(sum(weight_2 * sum_2::numeric), 0)::numeric AS sum_2,
           max(scale(sum_2)) FILTER (WHERE weight_2 < 0) AS sum_2_digits_gone,
           coalesce(sum(weight_2 * sum_3::numeric), 0)::numeric AS sum_3
    FROM net_input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums; stale where what was taken away may have been the value itself
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           coalesce(stored.count_1, 0) + change.count_1 AS count_1,
           coalesce(stored.sum_2, 0) + change.sum_2 AS sum_2,
           coalesce(stored.sum_3, 0) + change.sum_3 AS sum_3,
           stored.row_count AS row_count_before,
           stored.count_1 AS count_1_before,
           stored.sum_2 AS sum_2_before,
           stored.sum_3 AS sum_3_before,
           coalesce((change.sum_2 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_2 IN ('NaN', 'Infinity', '-Infinity')) OR (change.sum_2_digits_gone >= greatest(scale(stored.sum_2), 1)) OR (change.sum_3 IN ('NaN', 'Infinity', '-Infinity') OR stored.sum_3 IN ('NaN', 'Infinity', '-Infinity')), false) AS is_stale
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON stored.key_1 = change.key_1
), recomputed_groups AS MATERIALIZED (
    -- stale groups, from the base tables
    SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, coalesce(sum(sum_3), 0)::numeric AS sum_3
    FROM (
        SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3
        FROM shop.orders AS orders, shop.customers AS customers, shop.customers AS customers_2, (SELECT key_1 FROM merged_groups WHERE is_stale) AS stale_groups
        WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid AND customers_2.name = stale_groups.key_1
    ) AS input_rows
    GROUP BY key_1
), new_groups AS MATERIALIZED (
    SELECT key_1, row_address, row_count, count_1, sum_2, sum_3, row_count_before, count_1_before, sum_2_before, sum_3_before
    FROM merged_groups WHERE NOT is_stale
    UNION ALL
    SELECT merged.key_1, merged.row_address, coalesce(recomputed.row_count, 0), coalesce(recomputed.count_1, 0), coalesce(recomputed.sum_2, 0), coalesce(recomputed.sum_3, 0), merged.row_count_before, merged.count_1_before, merged.sum_2_before, merged.sum_3_before
    FROM merged_groups AS merged LEFT JOIN recomputed_groups AS recomputed ON merged.key_1 = recomputed.key_1
    WHERE merged.is_stale
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING new_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count, count_1 = changed.count_1, sum_2 = changed.sum_2, sum_3 = changed.sum_3
    FROM new_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count, count_1, sum_2, sum_3)
    SELECT key_1, row_count, count_1, sum_2, sum_3 FROM new_groups WHERE row_address IS NULL AND row_count > 0
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS name, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END) AS total, (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END) AS weighed, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM new_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1, (CASE WHEN changed.count_1 > 0 THEN changed.sum_2 END), (CASE WHEN changed.row_count > 0 THEN changed.sum_3 END))::record *<> ROW(changed.key_1, (CASE WHEN changed.count_1_before > 0 THEN changed.sum_2_before END), (CASE WHEN changed.row_count_before > 0 THEN changed.sum_3_before END))::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.name, target.total, target.weighed, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.name = target.name
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (ROW(stored.total, stored.weighed)::record *<> ROW(target.total, target.weighed)::record))
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
    UPDATE ONLY shop.mv AS stored SET total = entry.total, weighed = entry.weighed
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, total, weighed)
    SELECT entry.name, entry.total, entry.weighed
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

CREATE INDEX ON shop.mv (name);

CREATE TABLE mvrefresh."state$1" (
    key_1 text COLLATE "pg_catalog"."default",
    row_count int8 NOT NULL,
    count_1 int8 NOT NULL,
    sum_2 numeric NOT NULL,
    sum_3 numeric NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX ON mvrefresh."state$1" (key_1);

SELECT key_1, count(*) AS row_count, count(*) FILTER (WHERE count_1) AS count_1, coalesce(sum(sum_2), 0)::numeric AS sum_2, coalesce(sum(sum_3), 0)::numeric AS sum_3
FROM (
    SELECT customers_2.name AS key_1, (orders.discount IS NOT NULL) AS count_1, (orders.amount * ((1)::numeric - (orders.discount)::numeric)) AS sum_2, (orders.amount * (orders.order_id)::numeric) AS sum_3
    FROM shop.orders AS orders, shop.customers AS customers, shop.customers AS customers_2
    WHERE (orders.customer_id = customers.customer_id) AND (customers_2.name > customers.name) AND orders.is_paid
) AS input_rows
GROUP BY key_1;

-- customers is looked up by customer_id
-- orders is looked up by customer_id
