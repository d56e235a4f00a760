-- SELECT n, count(*) AS customers FROM (SELECT c.customer_id, count(o.order_id) AS n FROM customers c LEFT JOIN orders o USING (customer_id) GROUP BY c.customer_id) x GROUP BY n

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
    SELECT c1 AS customer_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, weight FROM mvrefresh."log$1"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1
    HAVING sum(weight) <> 0
), outer_joined_changes AS MATERIALIZED (
    SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2, kept.weight_2
    FROM customers_changes AS kept
    LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    WHERE EXISTS (SELECT FROM customers_changes)
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY customer_id, order_id
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id
    FROM net_joined_changes_keys AS keys, (
        SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2
        FROM shop.customers AS kept
        LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    ) AS outer_joined
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.customer_id = keys.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, order_id
    FROM (
        SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, order_id, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY customer_id, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(grouped.order_id) AS count, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(grouped.order_id) AS count, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_2 AS MATERIALIZED (
    SELECT "group".count AS count, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT count AS key_1, weight_2
    FROM joined_changes_2 AS rows_of_groups
), group_changes AS MATERIALIZED (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0
    ORDER BY key_1
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM group_changes LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{1}'
    ) AS is_so
), workable AS MATERIALIZED (
    -- whether that is all there is to do
    SELECT (SELECT is_so FROM in_place) AND NOT coalesce(bool_or(false), false) AS is_so, count(*) AS group_count
    FROM group_changes
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING group_changes AS change
    WHERE stored.n = change.key_1 AND change.row_count < 0 AND stored.customers + change.row_count = 0 AND (SELECT is_so FROM workable)
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET customers = ((stored.customers + change.row_count))
    FROM group_changes AS change
    WHERE stored.n = change.key_1 AND stored.customers + change.row_count > 0 AND (SELECT is_so FROM workable)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, customers)
    SELECT change.key_1, (change.row_count)
    FROM group_changes AS change
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE change.row_count > 0 AND (SELECT is_so FROM workable)
        AND NOT EXISTS (SELECT FROM ONLY shop.mv AS stored WHERE stored.n = change.key_1)
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       (SELECT count(*) FROM updated_rows) AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT group_count FROM workable) - (SELECT count(*) FROM deleted_rows)
        - (SELECT count(*) FROM updated_rows) - (SELECT count(*) FROM inserted_rows))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) OR NOT (SELECT is_so FROM workable) AS unforeseen;

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_2 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_2) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM orders_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), orders_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM orders_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT orders.order_id, orders.customer_id
                FROM orders_changes_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM orders_changes_keys) AND (orders.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM orders_changes_keys)
    ) AS counted
    WHERE flip <> 0
), customers_flipped AS MATERIALIZED (
    SELECT customers.customer_id, flips.weight_2
    FROM orders_flips AS flips, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_flips) AND (customers.customer_id = flips.key_1)
), outer_joined_changes AS MATERIALIZED (
    SELECT customers.customer_id, orders.order_id, orders.customer_id AS customer_id_2, orders.weight_2
    FROM shop.customers AS customers, orders_changes AS orders
    WHERE EXISTS (SELECT FROM orders_changes) AND (customers.customer_id = orders.customer_id)
    UNION ALL
    SELECT customer_id, NULL::int4 AS order_id, NULL::int4 AS customer_id_2, -weight_2 AS weight_2
    FROM customers_flipped
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY customer_id, order_id
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id
    FROM net_joined_changes_keys AS keys, (
        SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2
        FROM shop.customers AS kept
        LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    ) AS outer_joined
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.customer_id = keys.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, order_id
    FROM (
        SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, order_id, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY customer_id, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(grouped.order_id) AS count, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(grouped.order_id) AS count, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_2 AS MATERIALIZED (
    SELECT "group".count AS count, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT count AS key_1, weight_2
    FROM joined_changes_2 AS rows_of_groups
), group_changes AS MATERIALIZED (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0
    ORDER BY key_1
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM group_changes LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{1}'
    ) AS is_so
), workable AS MATERIALIZED (
    -- whether that is all there is to do
    SELECT (SELECT is_so FROM in_place) AND NOT coalesce(bool_or(false), false) AS is_so, count(*) AS group_count
    FROM group_changes
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING group_changes AS change
    WHERE stored.n = change.key_1 AND change.row_count < 0 AND stored.customers + change.row_count = 0 AND (SELECT is_so FROM workable)
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET customers = ((stored.customers + change.row_count))
    FROM group_changes AS change
    WHERE stored.n = change.key_1 AND stored.customers + change.row_count > 0 AND (SELECT is_so FROM workable)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, customers)
    SELECT change.key_1, (change.row_count)
    FROM group_changes AS change
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE change.row_count > 0 AND (SELECT is_so FROM workable)
        AND NOT EXISTS (SELECT FROM ONLY shop.mv AS stored WHERE stored.n = change.key_1)
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       (SELECT count(*) FROM updated_rows) AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT group_count FROM workable) - (SELECT count(*) FROM deleted_rows)
        - (SELECT count(*) FROM updated_rows) - (SELECT count(*) FROM inserted_rows))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) OR NOT (SELECT is_so FROM workable) AS unforeseen;

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
    SELECT c1 AS customer_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, weight FROM mvrefresh."log$1"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM orders_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), orders_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM orders_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT orders.order_id, orders.customer_id
                FROM orders_changes_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM orders_changes_keys) AND (orders.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM orders_changes_keys)
    ) AS counted
    WHERE flip <> 0
), customers_flipped AS MATERIALIZED (
    SELECT customers.customer_id, flips.weight_2
    FROM orders_flips AS flips, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_flips) AND (customers.customer_id = flips.key_1)
    UNION ALL
    SELECT customers.customer_id, -(flips.weight_2 * customers.weight_2) AS weight_2
    FROM orders_flips AS flips, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_flips) AND (customers.customer_id = flips.key_1)
), outer_joined_changes AS MATERIALIZED (
    SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2, kept.weight_2
    FROM customers_changes AS kept
    LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    WHERE EXISTS (SELECT FROM customers_changes)
    UNION ALL
    SELECT customers.customer_id, orders.order_id, orders.customer_id AS customer_id_2, orders.weight_2
    FROM shop.customers AS customers, orders_changes AS orders
    WHERE EXISTS (SELECT FROM orders_changes) AND (customers.customer_id = orders.customer_id)
    UNION ALL
    SELECT customers.customer_id, orders.order_id, orders.customer_id AS customer_id_2, -(customers.weight_2 * orders.weight_2) AS weight_2
    FROM customers_changes AS customers, orders_changes AS orders
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_changes) AND (customers.customer_id = orders.customer_id)
    UNION ALL
    SELECT customer_id, NULL::int4 AS order_id, NULL::int4 AS customer_id_2, -weight_2 AS weight_2
    FROM customers_flipped
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY customer_id, order_id
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id
    FROM net_joined_changes_keys AS keys, (
        SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2
        FROM shop.customers AS kept
        LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    ) AS outer_joined
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.customer_id = keys.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, order_id
    FROM (
        SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, order_id, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY customer_id, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(grouped.order_id) AS count, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(grouped.order_id) AS count, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_2 AS MATERIALIZED (
    SELECT "group".count AS count, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT count AS key_1, weight_2
    FROM joined_changes_2 AS rows_of_groups
), group_changes AS MATERIALIZED (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0
    ORDER BY key_1
), in_place AS MATERIALIZED (
    -- whether rows can be updated one by one: no unique index of others can see passing duplicates
    SELECT (SELECT count(*) FROM (SELECT FROM group_changes LIMIT 2) AS first_two) < 2 OR NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'shop.mv'::regclass AND (indisunique OR indisexclusion)
            AND NOT (indkey::int2[])[0:indnkeyatts - 1] @> '{1}'
    ) AS is_so
), workable AS MATERIALIZED (
    -- whether that is all there is to do
    SELECT (SELECT is_so FROM in_place) AND NOT coalesce(bool_or(false), false) AS is_so, count(*) AS group_count
    FROM group_changes
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING group_changes AS change
    WHERE stored.n = change.key_1 AND change.row_count < 0 AND stored.customers + change.row_count = 0 AND (SELECT is_so FROM workable)
    RETURNING 1
), updated_rows AS (
    UPDATE ONLY shop.mv AS stored SET customers = ((stored.customers + change.row_count))
    FROM group_changes AS change
    WHERE stored.n = change.key_1 AND stored.customers + change.row_count > 0 AND (SELECT is_so FROM workable)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, customers)
    SELECT change.key_1, (change.row_count)
    FROM group_changes AS change
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE change.row_count > 0 AND (SELECT is_so FROM workable)
        AND NOT EXISTS (SELECT FROM ONLY shop.mv AS stored WHERE stored.n = change.key_1)
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       (SELECT count(*) FROM updated_rows) AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT group_count FROM workable) - (SELECT count(*) FROM deleted_rows)
        - (SELECT count(*) FROM updated_rows) - (SELECT count(*) FROM inserted_rows))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) OR NOT (SELECT is_so FROM workable) AS unforeseen;

-- else
WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c1 AS customer_id, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM orders_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), orders_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM orders_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT orders.order_id, orders.customer_id
                FROM orders_changes_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM orders_changes_keys) AND (orders.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM orders_changes_keys)
    ) AS counted
    WHERE flip <> 0
), customers_flipped AS MATERIALIZED (
    SELECT customers.customer_id, flips.weight_2
    FROM orders_flips AS flips, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_flips) AND (customers.customer_id = flips.key_1)
    UNION ALL
    SELECT customers.customer_id, -(flips.weight_2 * customers.weight_2) AS weight_2
    FROM orders_flips AS flips, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_flips) AND (customers.customer_id = flips.key_1)
), outer_joined_changes AS MATERIALIZED (
    SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2, kept.weight_2
    FROM customers_changes AS kept
    LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    WHERE EXISTS (SELECT FROM customers_changes)
    UNION ALL
    SELECT customers.customer_id, orders.order_id, orders.customer_id AS customer_id_2, orders.weight_2
    FROM shop.customers AS customers, orders_changes AS orders
    WHERE EXISTS (SELECT FROM orders_changes) AND (customers.customer_id = orders.customer_id)
    UNION ALL
    SELECT customers.customer_id, orders.order_id, orders.customer_id AS customer_id_2, -(customers.weight_2 * orders.weight_2) AS weight_2
    FROM customers_changes AS customers, orders_changes AS orders
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_changes) AND (customers.customer_id = orders.customer_id)
    UNION ALL
    SELECT customer_id, NULL::int4 AS order_id, NULL::int4 AS customer_id_2, -weight_2 AS weight_2
    FROM customers_flipped
), joined_changes AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id, outer_joined.weight_2
    FROM outer_joined_changes AS outer_joined
), net_joined_changes AS MATERIALIZED (
    SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY customer_id, order_id
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT outer_joined.customer_id, outer_joined.order_id
    FROM net_joined_changes_keys AS keys, (
        SELECT kept.customer_id, other.order_id, other.customer_id AS customer_id_2
        FROM shop.customers AS kept
        LEFT JOIN shop.orders AS other ON (kept.customer_id = other.customer_id)
    ) AS outer_joined
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (outer_joined.customer_id = keys.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, order_id
    FROM (
        SELECT customer_id, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, order_id, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY customer_id, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(grouped.order_id) AS count, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(grouped.order_id) AS count, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_2 AS MATERIALIZED (
    SELECT "group".count AS count, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT count AS key_1, weight_2
    FROM joined_changes_2 AS rows_of_groups
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight_2), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight_2) <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.customers, 0) + change.row_count AS row_count
    FROM group_changes AS change
    LEFT JOIN ONLY shop.mv AS stored ON stored.n = change.key_1
), found_rows AS (
    -- the rows of changed groups
    SELECT changed.key_1 AS n, (changed.row_count) AS customers, changed.row_address, changed.row_count > 0 AS is_there
    FROM merged_groups AS changed
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
    UPDATE ONLY shop.mv AS stored SET customers = entry.customers
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (n, customers)
    SELECT entry.n, entry.customers
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
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv (n);

-- customers is looked up by customer_id
-- orders is looked up by customer_id
