-- SELECT o.order_id, c.name, p.title, o.amount FROM orders o JOIN customers c USING (customer_id) JOIN products p USING (product_id) WHERE p.is_sold

-- if nothing is pending but in mvrefresh."log$1"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
        AND NOT EXISTS (SELECT FROM mvrefresh."log$4" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), logged_images AS MATERIALIZED (
    -- images, by the columns on which it depends which rows there are, of shop.customers since the watermark
    SELECT c1 AS customer_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, weight FROM mvrefresh."log$1"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1
), touched_keys AS (
    -- keys of rows on which it depends which rows there are
    SELECT DISTINCT customer_id FROM logged_images WHERE weight_2 <> 0
), gone_images AS (
    -- what is no more
    SELECT customer_id FROM logged_images WHERE weight_2 < 0
), value_keys AS (
    -- keys of rows of which only other columns can have changed
    SELECT customer_id FROM logged_images GROUP BY customer_id HAVING bool_and(weight_2 = 0)
), new_rows AS MATERIALIZED (
    -- the rows that touched ones are in now
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount
    FROM shop.orders AS orders, shop.customers AS customers, shop.products AS products, touched_keys AS touched
    WHERE (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold AND customers.customer_id = touched.customer_id
), target_rows AS (
    SELECT order_id, name, title, amount, true AS is_there FROM new_rows
    UNION ALL
    SELECT gone.order_id, NULL, NULL, NULL, false
    FROM (
        SELECT orders.order_id AS order_id
        FROM shop.orders AS orders, gone_images AS customers, shop.products AS products
        WHERE (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    ) AS gone
    WHERE NOT EXISTS (SELECT FROM new_rows WHERE new_rows.order_id = gone.order_id)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.title, target.amount, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.title IS DISTINCT FROM target.title OR stored.amount IS DISTINCT FROM target.amount))
    UNION ALL
    -- those that stay, of which values are not stored like this
    SELECT stored.order_id, fresh.name, stored.title, stored.amount, true AS is_there, stored.ctid AS row_address
    FROM (
        SELECT orders.order_id AS order_id, customers.name AS name
        FROM shop.orders AS orders, shop.customers AS customers, value_keys AS touched
        WHERE (orders.customer_id = customers.customer_id) AND customers.customer_id = touched.customer_id
    ) AS fresh
    JOIN ONLY shop.mv AS stored ON stored.order_id = fresh.order_id
    WHERE stored.name IS DISTINCT FROM fresh.name
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, title = entry.title, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, title, amount)
    SELECT entry.order_id, entry.name, entry.title, entry.amount
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
        AND NOT EXISTS (SELECT FROM mvrefresh."log$4" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
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
    SELECT touched.order_id, now.name, now.title, now.amount, coalesce(now.is_there, false) AS is_there
    FROM touched_keys AS touched
    LEFT JOIN (
        SELECT true AS is_there, orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount
        FROM shop.orders AS orders, shop.customers AS customers, shop.products AS products
        WHERE (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    ) AS now ON now.order_id = touched.order_id
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.title, target.amount, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.title IS DISTINCT FROM target.title OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, title = entry.title, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, title, amount)
    SELECT entry.order_id, entry.name, entry.title, entry.amount
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

-- if nothing is pending but in mvrefresh."log$4"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_3 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$4" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_3) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
        AND NOT EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), logged_images AS MATERIALIZED (
    -- images, by the columns on which it depends which rows there are, of shop.products since the watermark
    SELECT c1 AS product_id, c3 AS is_sold, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c3, weight FROM mvrefresh."log$4"
        WHERE (all_3 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_3
    ) AS pending
    GROUP BY c1, c3
), touched_keys AS (
    -- keys of rows on which it depends which rows there are
    SELECT DISTINCT product_id FROM logged_images WHERE weight_2 <> 0
), gone_images AS (
    -- what is no more
    SELECT product_id, is_sold FROM logged_images WHERE weight_2 < 0
), value_keys AS (
    -- keys of rows of which only other columns can have changed
    SELECT product_id FROM logged_images GROUP BY product_id HAVING bool_and(weight_2 = 0)
), new_rows AS MATERIALIZED (
    -- the rows that touched ones are in now
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount
    FROM shop.orders AS orders, shop.customers AS customers, shop.products AS products, touched_keys AS touched
    WHERE (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold AND products.product_id = touched.product_id
), target_rows AS (
    SELECT order_id, name, title, amount, true AS is_there FROM new_rows
    UNION ALL
    SELECT gone.order_id, NULL, NULL, NULL, false
    FROM (
        SELECT orders.order_id AS order_id
        FROM shop.orders AS orders, shop.customers AS customers, gone_images AS products
        WHERE (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    ) AS gone
    WHERE NOT EXISTS (SELECT FROM new_rows WHERE new_rows.order_id = gone.order_id)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.title, target.amount, target.is_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.title IS DISTINCT FROM target.title OR stored.amount IS DISTINCT FROM target.amount))
    UNION ALL
    -- those that stay, of which values are not stored like this
    SELECT stored.order_id, stored.name, fresh.title, stored.amount, true AS is_there, stored.ctid AS row_address
    FROM (
        SELECT orders.order_id AS order_id, products.title AS title
        FROM shop.orders AS orders, shop.products AS products, value_keys AS touched
        WHERE (orders.product_id = products.product_id) AND products.is_sold AND products.product_id = touched.product_id
    ) AS fresh
    JOIN ONLY shop.mv AS stored ON stored.order_id = fresh.order_id
    WHERE stored.title IS DISTINCT FROM fresh.title
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, title = entry.title, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, title, amount)
    SELECT entry.order_id, entry.name, entry.title, entry.amount
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
        AND NOT EXISTS (SELECT FROM mvrefresh."log$4" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
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
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, c8 AS product_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c4, c8, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2, c4, c8
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, shop.products AS products
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, shop.products AS products
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT changed_together.order_id AS order_id, changed_together.name AS name, products.title AS title, changed_together.amount AS amount, -(changed_together.weight_2) AS weight_2
    FROM shop.products AS products, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.amount, orders.product_id, customers.name, orders.weight_2 * customers.weight_2 AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE (orders.customer_id = customers.customer_id)
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (changed_together.product_id = products.product_id) AND products.is_sold
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, name, title, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, name, title, amount
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id) order_id, name, title, amount, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id) AS was_there
    FROM net_rows
    ORDER BY order_id, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.title, target.amount, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.title IS DISTINCT FROM target.title OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, title = entry.title, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, title, amount)
    SELECT entry.order_id, entry.name, entry.title, entry.amount
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

-- if nothing is pending but in mvrefresh."log$2" and mvrefresh."log$4"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_2 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_2) AS pending)
        AND (SELECT count(*) < at_most_3 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$4" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_3) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, c8 AS product_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c4, c8, weight FROM mvrefresh."log$2"
        WHERE (all_2 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2, c4, c8
    HAVING sum(weight) <> 0
), products_changes AS MATERIALIZED (
    -- net change of shop.products since the watermark
    SELECT c1 AS product_id, c2 AS title, c3 AS is_sold, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c3, weight FROM mvrefresh."log$4"
        WHERE (all_3 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_3
    ) AS pending
    GROUP BY c1, c2, c3
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, shop.products AS products
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, products.weight_2 AS weight_2
    FROM shop.orders AS orders, shop.customers AS customers, products_changes AS products
    WHERE EXISTS (SELECT FROM products_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT changed_together.order_id AS order_id, customers.name AS name, changed_together.title AS title, changed_together.amount AS amount, -(changed_together.weight_2) AS weight_2
    FROM shop.customers AS customers, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.customer_id, orders.amount, products.title, orders.weight_2 * products.weight_2 AS weight_2
        FROM orders_changes AS orders, products_changes AS products
        WHERE (orders.product_id = products.product_id) AND products.is_sold
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM products_changes) AND (changed_together.customer_id = customers.customer_id)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, name, title, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, name, title, amount
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id) order_id, name, title, amount, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id) AS was_there
    FROM net_rows
    ORDER BY order_id, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.title, target.amount, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.title IS DISTINCT FROM target.title OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, title = entry.title, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, title, amount)
    SELECT entry.order_id, entry.name, entry.title, entry.amount
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
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, c8 AS product_id, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2, c4, c8
    HAVING sum(weight) <> 0
), products_changes AS MATERIALIZED (
    -- net change of shop.products since the watermark
    SELECT c1 AS product_id, c2 AS title, c3 AS is_sold, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$4"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2, c3
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.customers AS customers, shop.products AS products
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, customers.weight_2 AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, shop.products AS products
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT changed_together.order_id AS order_id, changed_together.name AS name, products.title AS title, changed_together.amount AS amount, -(changed_together.weight_2) AS weight_2
    FROM shop.products AS products, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.amount, orders.product_id, customers.name, orders.weight_2 * customers.weight_2 AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE (orders.customer_id = customers.customer_id)
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND (changed_together.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, products.weight_2 AS weight_2
    FROM shop.orders AS orders, shop.customers AS customers, products_changes AS products
    WHERE EXISTS (SELECT FROM products_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT changed_together.order_id AS order_id, customers.name AS name, changed_together.title AS title, changed_together.amount AS amount, -(changed_together.weight_2) AS weight_2
    FROM shop.customers AS customers, (
        -- OFFSET keeps the planner from joining others first
        SELECT orders.order_id, orders.customer_id, orders.amount, products.title, orders.weight_2 * products.weight_2 AS weight_2
        FROM orders_changes AS orders, products_changes AS products
        WHERE (orders.product_id = products.product_id) AND products.is_sold
        OFFSET 0
    ) AS changed_together
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM products_changes) AND (changed_together.customer_id = customers.customer_id)
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, -(customers.weight_2 * products.weight_2) AS weight_2
    FROM shop.orders AS orders, customers_changes AS customers, products_changes AS products
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM products_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
    UNION ALL
    SELECT orders.order_id AS order_id, customers.name AS name, products.title AS title, orders.amount AS amount, orders.weight_2 * customers.weight_2 * products.weight_2 AS weight_2
    FROM orders_changes AS orders, customers_changes AS customers, products_changes AS products
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM products_changes) AND (orders.customer_id = customers.customer_id) AND (orders.product_id = products.product_id) AND products.is_sold
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, name, title, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, name, title, amount
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id) order_id, name, title, amount, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id) AS was_there
    FROM net_rows
    ORDER BY order_id, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.name, target.title, target.amount, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.name IS DISTINCT FROM target.name OR stored.title IS DISTINCT FROM target.title OR stored.amount IS DISTINCT FROM target.amount))
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
    UPDATE ONLY shop.mv AS stored SET name = entry.name, title = entry.title, amount = entry.amount
    FROM found_rows AS entry
    WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, name, title, amount)
    SELECT entry.order_id, entry.name, entry.title, entry.amount
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
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$4" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv (order_id);

-- customers is looked up by customer_id
-- orders is looked up by customer_id
-- orders is looked up by product_id
-- products is looked up by product_id
