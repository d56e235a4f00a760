-- SELECT c.region, count(*) AS orders, sum(o.discount) AS discounts, avg(o.discount::real) AS mean FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id GROUP BY c.region HAVING count(*) > 1

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
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), customers_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM customers_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), customers_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM customers_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT customers.customer_id, customers.region
                FROM customers_changes_keys AS keys, shop.customers AS customers
                WHERE EXISTS (SELECT FROM customers_changes_keys) AND (customers.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM customers_changes_keys)
    ) AS counted
    WHERE flip <> 0
), orders_flipped AS MATERIALIZED (
    SELECT orders.customer_id, orders.discount, flips.weight_2
    FROM customers_flips AS flips, shop.orders AS orders
    WHERE EXISTS (SELECT FROM customers_flips) AND (orders.customer_id = flips.key_1)
), outer_joined_changes AS MATERIALIZED (
    SELECT orders.customer_id, orders.discount, customers.customer_id AS customer_id_2, customers.region, customers.weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customer_id, discount, NULL::int4 AS customer_id_2, NULL::text AS region, -weight_2 AS weight_2
    FROM orders_flipped
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT region, (array_agg(discount))[1] AS discount, (array_agg(value_3))[1] AS value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY region, float8send(discount), float4send(value_3)
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT region AS key_1
    FROM net_joined_changes AS partial
), net_joined_changes_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_keys
    WHERE key_1 IS NULL
), groups_now AS MATERIALIZED (
    SELECT grouped.region, count(*) AS count, sum(grouped.discount) AS sum, avg(grouped.value_3) AS avg
    FROM (
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.region = keys.key_1)
        UNION ALL
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys_with_null AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys_with_null) AND (outer_joined.region IS NULL)
    ) AS grouped
    GROUP BY grouped.region
), target_rows AS (
    -- touched groups, from all their rows as they are now, or that there are none
    SELECT touched.key_1 AS region, now.orders, now.discounts, now.mean, coalesce(now.is_there, false) AS is_there
    FROM net_joined_changes_keys AS touched
    LEFT JOIN (
        SELECT region AS region, count AS orders, sum AS discounts, avg AS mean, true AS is_there
        FROM groups_now
        WHERE (count > 1)
    ) AS now ON hash_record_extended(ROW(now.region), 0) = hash_record_extended(ROW(touched.key_1), 0) AND now.region IS NOT DISTINCT FROM touched.key_1
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.orders, target.discounts, target.mean, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.orders IS DISTINCT FROM target.orders OR ROW(stored.discounts, stored.mean)::record *<> ROW(target.discounts, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET orders = entry.orders, discounts = entry.discounts, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, orders, discounts, mean)
    SELECT entry.region, entry.orders, entry.discounts, entry.mean
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
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - (SELECT count(*) FROM updated_rows))::int8 AS rows_missing,
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
    SELECT c2 AS customer_id, c6 AS discount, weight::int4 AS weight_2
    FROM (
        SELECT c2, c6, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), outer_joined_changes AS MATERIALIZED (
    SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region, kept.weight_2
    FROM orders_changes AS kept
    LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
    WHERE EXISTS (SELECT FROM orders_changes)
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT region, (array_agg(discount))[1] AS discount, (array_agg(value_3))[1] AS value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY region, float8send(discount), float4send(value_3)
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT region AS key_1
    FROM net_joined_changes AS partial
), net_joined_changes_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_keys
    WHERE key_1 IS NULL
), groups_now AS MATERIALIZED (
    SELECT grouped.region, count(*) AS count, sum(grouped.discount) AS sum, avg(grouped.value_3) AS avg
    FROM (
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.region = keys.key_1)
        UNION ALL
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys_with_null AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys_with_null) AND (outer_joined.region IS NULL)
    ) AS grouped
    GROUP BY grouped.region
), target_rows AS (
    -- touched groups, from all their rows as they are now, or that there are none
    SELECT touched.key_1 AS region, now.orders, now.discounts, now.mean, coalesce(now.is_there, false) AS is_there
    FROM net_joined_changes_keys AS touched
    LEFT JOIN (
        SELECT region AS region, count AS orders, sum AS discounts, avg AS mean, true AS is_there
        FROM groups_now
        WHERE (count > 1)
    ) AS now ON hash_record_extended(ROW(now.region), 0) = hash_record_extended(ROW(touched.key_1), 0) AND now.region IS NOT DISTINCT FROM touched.key_1
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.orders, target.discounts, target.mean, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.orders IS DISTINCT FROM target.orders OR ROW(stored.discounts, stored.mean)::record *<> ROW(target.discounts, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET orders = entry.orders, discounts = entry.discounts, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, orders, discounts, mean)
    SELECT entry.region, entry.orders, entry.discounts, entry.mean
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
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - (SELECT count(*) FROM updated_rows))::int8 AS rows_missing,
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
    SELECT c1 AS customer_id, c3 AS region, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c3, weight FROM mvrefresh."log$1"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- changes of shop.orders since the watermark
    SELECT c2 AS customer_id, c6 AS discount, weight::int4 AS weight_2
    FROM (
        SELECT c2, c6, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), customers_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM customers_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), customers_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM customers_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT customers.customer_id, customers.region
                FROM customers_changes_keys AS keys, shop.customers AS customers
                WHERE EXISTS (SELECT FROM customers_changes_keys) AND (customers.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM customers_changes_keys)
    ) AS counted
    WHERE flip <> 0
), orders_flipped AS MATERIALIZED (
    SELECT orders.customer_id, orders.discount, flips.weight_2
    FROM customers_flips AS flips, shop.orders AS orders
    WHERE EXISTS (SELECT FROM customers_flips) AND (orders.customer_id = flips.key_1)
    UNION ALL
    SELECT orders.customer_id, orders.discount, -(flips.weight_2 * orders.weight_2) AS weight_2
    FROM customers_flips AS flips, orders_changes AS orders
    WHERE EXISTS (SELECT FROM customers_flips) AND EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = flips.key_1)
), outer_joined_changes AS MATERIALIZED (
    SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region, kept.weight_2
    FROM orders_changes AS kept
    LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
    WHERE EXISTS (SELECT FROM orders_changes)
    UNION ALL
    SELECT orders.customer_id, orders.discount, customers.customer_id AS customer_id_2, customers.region, customers.weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.customer_id, orders.discount, customers.customer_id AS customer_id_2, customers.region, -(orders.weight_2 * customers.weight_2) AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customer_id, discount, NULL::int4 AS customer_id_2, NULL::text AS region, -weight_2 AS weight_2
    FROM orders_flipped
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT region, (array_agg(discount))[1] AS discount, (array_agg(value_3))[1] AS value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY region, float8send(discount), float4send(value_3)
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT region AS key_1
    FROM net_joined_changes AS partial
), net_joined_changes_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_keys
    WHERE key_1 IS NULL
), groups_now AS MATERIALIZED (
    SELECT grouped.region, count(*) AS count, sum(grouped.discount) AS sum, avg(grouped.value_3) AS avg
    FROM (
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.region = keys.key_1)
        UNION ALL
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys_with_null AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys_with_null) AND (outer_joined.region IS NULL)
    ) AS grouped
    GROUP BY grouped.region
), target_rows AS (
    -- touched groups, from all their rows as they are now, or that there are none
    SELECT touched.key_1 AS region, now.orders, now.discounts, now.mean, coalesce(now.is_there, false) AS is_there
    FROM net_joined_changes_keys AS touched
    LEFT JOIN (
        SELECT region AS region, count AS orders, sum AS discounts, avg AS mean, true AS is_there
        FROM groups_now
        WHERE (count > 1)
    ) AS now ON hash_record_extended(ROW(now.region), 0) = hash_record_extended(ROW(touched.key_1), 0) AND now.region IS NOT DISTINCT FROM touched.key_1
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.orders, target.discounts, target.mean, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.orders IS DISTINCT FROM target.orders OR ROW(stored.discounts, stored.mean)::record *<> ROW(target.discounts, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET orders = entry.orders, discounts = entry.discounts, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, orders, discounts, mean)
    SELECT entry.region, entry.orders, entry.discounts, entry.mean
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
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - (SELECT count(*) FROM updated_rows))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) AS unforeseen;

-- else
WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, c3 AS region, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c3
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- changes of shop.orders since the watermark
    SELECT c2 AS customer_id, c6 AS discount, weight::int4 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), customers_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM customers_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), customers_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM customers_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT customers.customer_id, customers.region
                FROM customers_changes_keys AS keys, shop.customers AS customers
                WHERE EXISTS (SELECT FROM customers_changes_keys) AND (customers.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM customers_changes_keys)
    ) AS counted
    WHERE flip <> 0
), orders_flipped AS MATERIALIZED (
    SELECT orders.customer_id, orders.discount, flips.weight_2
    FROM customers_flips AS flips, shop.orders AS orders
    WHERE EXISTS (SELECT FROM customers_flips) AND (orders.customer_id = flips.key_1)
    UNION ALL
    SELECT orders.customer_id, orders.discount, -(flips.weight_2 * orders.weight_2) AS weight_2
    FROM customers_flips AS flips, orders_changes AS orders
    WHERE EXISTS (SELECT FROM customers_flips) AND EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = flips.key_1)
), outer_joined_changes AS MATERIALIZED (
    SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region, kept.weight_2
    FROM orders_changes AS kept
    LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
    WHERE EXISTS (SELECT FROM orders_changes)
    UNION ALL
    SELECT orders.customer_id, orders.discount, customers.customer_id AS customer_id_2, customers.region, customers.weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.customer_id, orders.discount, customers.customer_id AS customer_id_2, customers.region, -(orders.weight_2 * customers.weight_2) AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT customer_id, discount, NULL::int4 AS customer_id_2, NULL::text AS region, -weight_2 AS weight_2
    FROM orders_flipped
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT region, (array_agg(discount))[1] AS discount, (array_agg(value_3))[1] AS value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY region, float8send(discount), float4send(value_3)
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT region AS key_1
    FROM net_joined_changes AS partial
), net_joined_changes_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_keys
    WHERE key_1 IS NULL
), groups_now AS MATERIALIZED (
    SELECT grouped.region, count(*) AS count, sum(grouped.discount) AS sum, avg(grouped.value_3) AS avg
    FROM (
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.region = keys.key_1)
        UNION ALL
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3
        FROM net_joined_changes_keys_with_null AS keys, (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
        WHERE EXISTS (SELECT FROM net_joined_changes_keys_with_null) AND (outer_joined.region IS NULL)
    ) AS grouped
    GROUP BY grouped.region
), target_rows AS (
    -- touched groups, from all their rows as they are now, or that there are none
    SELECT touched.key_1 AS region, now.orders, now.discounts, now.mean, coalesce(now.is_there, false) AS is_there
    FROM net_joined_changes_keys AS touched
    LEFT JOIN (
        SELECT region AS region, count AS orders, sum AS discounts, avg AS mean, true AS is_there
        FROM groups_now
        WHERE (count > 1)
    ) AS now ON hash_record_extended(ROW(now.region), 0) = hash_record_extended(ROW(touched.key_1), 0) AND now.region IS NOT DISTINCT FROM touched.key_1
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.orders, target.discounts, target.mean, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.orders IS DISTINCT FROM target.orders OR ROW(stored.discounts, stored.mean)::record *<> ROW(target.discounts, target.mean)::record))
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
    UPDATE ONLY shop.mv AS stored SET orders = entry.orders, discounts = entry.discounts, mean = entry.mean
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, orders, discounts, mean)
    SELECT entry.region, entry.orders, entry.discounts, entry.mean
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
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - (SELECT count(*) FROM updated_rows))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(region), 0)));

-- the bounds of sums
SELECT sums.region AS region,
    ranges.lower_1 AS lower_1,
    ranges.upper_1 AS upper_1,
    ranges.lower_2 AS lower_2,
    ranges.upper_2 AS upper_2
FROM (
    SELECT grouped.region, count(*) AS count, sum(grouped.discount) AS sum, avg(grouped.value_3) AS avg, count(grouped.discount) AS count_2, sum(grouped.value_4) AS sum_2, count(grouped.value_3) AS count_3, sum(grouped.value_5) AS sum_3
    FROM (
        SELECT outer_joined.region, outer_joined.discount, (outer_joined.discount)::float4 AS value_3, (greatest(abs((outer_joined.discount)::float8), 1e-200::float8) / 1e30::float8) AS value_4, (greatest(abs(((outer_joined.discount)::float4)::float8), 1e-200::float8) / 1e30::float8) AS value_5
        FROM (
            SELECT kept.customer_id, kept.discount, other.customer_id AS customer_id_2, other.region
            FROM shop.orders AS kept
            LEFT JOIN shop.customers AS other ON (kept.customer_id = other.customer_id)
        ) AS outer_joined
    ) AS grouped
    GROUP BY grouped.region
) AS sums
CROSS JOIN LATERAL (
    SELECT CASE WHEN sums.count_2 < 3 OR sums.sum IN ('NaN', 'Infinity', '-Infinity') THEN 0 WHEN sums.sum_2 > 1e274 THEN 'Infinity' ELSE (sums.count_2 + 1) * 2.3e14::float8 * sums.sum_2 END AS error_1,
        CASE WHEN sums.count_3 < 3 OR sums.avg IN ('NaN', 'Infinity', '-Infinity') THEN 0 WHEN sums.sum_3 > 1e274 THEN 'Infinity' ELSE (sums.count_3 + 1) * 2.3e14::float8 * sums.sum_3 / sums.count_3 END AS error_2
) AS errors
CROSS JOIN LATERAL (
    SELECT sums.sum - errors.error_1 AS lower_1, sums.sum + errors.error_1 AS upper_1,
        sums.avg - errors.error_2 AS lower_2, sums.avg + errors.error_2 AS upper_2
) AS ranges;

-- the rows as they are compared
SELECT stored.region,
    stored.orders,
    CASE WHEN stored.discounts BETWEEN bounds.lower_1 AND bounds.upper_1 AND fresh.discounts BETWEEN bounds.lower_1 AND bounds.upper_1 THEN fresh.discounts ELSE stored.discounts END AS discounts,
    CASE WHEN stored.mean BETWEEN bounds.lower_2 AND bounds.upper_2 AND fresh.mean BETWEEN bounds.lower_2 AND bounds.upper_2 THEN fresh.mean ELSE stored.mean END AS mean
FROM stored_rows AS stored
LEFT JOIN query_rows AS fresh ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(fresh.region), 0) AND stored.region IS NOT DISTINCT FROM fresh.region
LEFT JOIN bounds ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(bounds.region), 0) AND stored.region IS NOT DISTINCT FROM bounds.region;

-- customers is looked up by customer_id
-- customers is looked up by region
-- orders is looked up by customer_id
