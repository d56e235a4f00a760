-- SELECT o.order_id, c.name, o.amount FROM orders o JOIN customers c USING (customer_id)

-- if nothing is pending but in mvrefresh."log$1"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), touched_keys AS (
    -- keys of changed rows of shop.customers
    SELECT DISTINCT c1 AS customer_id
    FROM (
        SELECT c1, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
), gone_images AS (
    -- what is no more
    SELECT c1 AS customer_id
    FROM (
        SELECT c1, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1
    HAVING sum(weight) < 0
), new_rows AS MATERIALIZED (
    -- the rows that touched ones are in now
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount
    FROM shop.orders AS orders, shop.customers AS customers, touched_keys AS touched
    WHERE (orders.customer_id = customers.customer_id) AND customers.customer_id = touched.customer_id
), target_rows AS (
    SELECT order_id, name, amount, true AS is_there FROM new_rows
    UNION ALL
    SELECT gone.order_id, NULL, NULL, false
    FROM (
        SELECT orders.order_id AS order_id
        FROM shop.orders AS orders, gone_images AS customers
        WHERE (orders.customer_id = customers.customer_id)
    ) AS gone
    WHERE NOT EXISTS (SELECT FROM new_rows WHERE new_rows.order_id = gone.order_id)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.amount, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, amount)
    SELECT entry.order_id, entry.name, entry.amount
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
), touched_keys AS (
    -- keys of changed rows of shop.orders
    SELECT DISTINCT c1 AS order_id
    FROM (
        SELECT c1, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), target_rows AS (
    -- their rows as they are now, or that there are none
    SELECT touched.order_id, now.name, now.amount, coalesce(now.is_there, false) AS is_there
    FROM touched_keys AS touched
    LEFT JOIN (
        SELECT true AS is_there, orders.order_id AS order_id, customers.name AS name, orders.amount AS amount
        FROM shop.orders AS orders, shop.customers AS customers
        WHERE (orders.customer_id = customers.customer_id)
    ) AS now ON now.order_id = touched.order_id
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.amount, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, amount)
    SELECT entry.order_id, entry.name, entry.amount
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
    SELECT c1 AS customer_id, c2 AS name, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c4, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2, c4
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount, -(orders.weight_2 * customers.weight_2) AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, name, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, name, amount
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id) order_id, name, amount, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id) AS was_there
    FROM net_rows
    ORDER BY order_id, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.amount, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, amount)
    SELECT entry.order_id, entry.name, entry.amount
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
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL)))::int8 AS rows_missing,
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
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2, c4
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, orders.amount AS amount, -(orders.weight_2 * customers.weight_2) AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, name, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, name, amount
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id) order_id, name, amount, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id) AS was_there
    FROM net_rows
    ORDER BY order_id, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.amount, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, amount)
    SELECT entry.order_id, entry.name, entry.amount
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
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL)))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv (order_id);

-- customers is looked up by customer_id
-- orders is looked up by customer_id
