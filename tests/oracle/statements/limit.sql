-- SELECT name, amount FROM orders JOIN customers USING (customer_id) ORDER BY amount DESC, order_id LIMIT 10

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
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT customers.name, orders.amount, orders.order_id, customers.weight_2
    FROM shop.orders AS orders, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
), net_joined_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), new_rows_2 AS MATERIALIZED (
    SELECT coalesce(sum(weight_2) FILTER (WHERE weight_2 > 0), 0)::int8 AS added
    FROM net_joined_changes
), foremost AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT 110
    ) AS foremost
    WHERE EXISTS (SELECT FROM net_joined_changes) AND (SELECT added <= 100 FROM new_rows_2)
    UNION ALL
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT (SELECT added + 10 FROM new_rows_2)
    ) AS foremost
    WHERE (SELECT added > 100 FROM new_rows_2)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT name, amount, order_id
    FROM (
        SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT name, amount, order_id, 1 AS weight_2
            FROM foremost
            UNION ALL
            SELECT name, amount, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY name, amount, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), first_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM foremost AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM grouped_rows_before AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS past
    ) AS changed
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), joined_changes_2 AS MATERIALIZED (
    SELECT first.name, first.amount, first.weight_2
    FROM first_changes AS first
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, amount AS amount, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name, amount
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, amount, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name, amount), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name, stored.amount), 0) = change.row_hash AND ROW(stored.name, stored.amount)::record *= ROW(change.name, change.amount)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, amount)
    SELECT change.name, change.amount
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight_2)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight_2), 0) FROM numbered_changes WHERE weight_2 < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
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
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c4, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2, c4
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT customers.name, orders.amount, orders.order_id, orders.weight_2
    FROM orders_changes AS orders, shop.customers AS customers
    WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
), net_joined_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), new_rows_2 AS MATERIALIZED (
    SELECT coalesce(sum(weight_2) FILTER (WHERE weight_2 > 0), 0)::int8 AS added
    FROM net_joined_changes
), foremost AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT 110
    ) AS foremost
    WHERE EXISTS (SELECT FROM net_joined_changes) AND (SELECT added <= 100 FROM new_rows_2)
    UNION ALL
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT (SELECT added + 10 FROM new_rows_2)
    ) AS foremost
    WHERE (SELECT added > 100 FROM new_rows_2)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT name, amount, order_id
    FROM (
        SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT name, amount, order_id, 1 AS weight_2
            FROM foremost
            UNION ALL
            SELECT name, amount, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY name, amount, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), first_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM foremost AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM grouped_rows_before AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS past
    ) AS changed
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), joined_changes_2 AS MATERIALIZED (
    SELECT first.name, first.amount, first.weight_2
    FROM first_changes AS first
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, amount AS amount, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name, amount
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, amount, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name, amount), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name, stored.amount), 0) = change.row_hash AND ROW(stored.name, stored.amount)::record *= ROW(change.name, change.amount)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, amount)
    SELECT change.name, change.amount
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight_2)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight_2), 0) FROM numbered_changes WHERE weight_2 < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
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
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c4, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c1, c2, c4
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT customers.name, orders.amount, orders.order_id, orders.weight_2
        FROM orders_changes AS orders, shop.customers AS customers
        WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
        UNION ALL
        SELECT customers.name, orders.amount, orders.order_id, customers.weight_2
        FROM shop.orders AS orders, customers_changes AS customers
        WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
        UNION ALL
        SELECT customers.name, orders.amount, orders.order_id, -(orders.weight_2 * customers.weight_2) AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    ) AS terms
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), net_joined_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), new_rows_2 AS MATERIALIZED (
    SELECT coalesce(sum(weight_2) FILTER (WHERE weight_2 > 0), 0)::int8 AS added
    FROM net_joined_changes
), foremost AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT 110
    ) AS foremost
    WHERE EXISTS (SELECT FROM net_joined_changes) AND (SELECT added <= 100 FROM new_rows_2)
    UNION ALL
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT (SELECT added + 10 FROM new_rows_2)
    ) AS foremost
    WHERE (SELECT added > 100 FROM new_rows_2)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT name, amount, order_id
    FROM (
        SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT name, amount, order_id, 1 AS weight_2
            FROM foremost
            UNION ALL
            SELECT name, amount, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY name, amount, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), first_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM foremost AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM grouped_rows_before AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS past
    ) AS changed
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), joined_changes_2 AS MATERIALIZED (
    SELECT first.name, first.amount, first.weight_2
    FROM first_changes AS first
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, amount AS amount, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name, amount
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, amount, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name, amount), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name, stored.amount), 0) = change.row_hash AND ROW(stored.name, stored.amount)::record *= ROW(change.name, change.amount)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, amount)
    SELECT change.name, change.amount
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight_2)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight_2), 0) FROM numbered_changes WHERE weight_2 < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
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
), joined_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT customers.name, orders.amount, orders.order_id, orders.weight_2
        FROM orders_changes AS orders, shop.customers AS customers
        WHERE EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
        UNION ALL
        SELECT customers.name, orders.amount, orders.order_id, customers.weight_2
        FROM shop.orders AS orders, customers_changes AS customers
        WHERE EXISTS (SELECT FROM customers_changes) AND (orders.customer_id = customers.customer_id)
        UNION ALL
        SELECT customers.name, orders.amount, orders.order_id, -(orders.weight_2 * customers.weight_2) AS weight_2
        FROM orders_changes AS orders, customers_changes AS customers
        WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM orders_changes) AND (orders.customer_id = customers.customer_id)
    ) AS terms
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), net_joined_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), new_rows_2 AS MATERIALIZED (
    SELECT coalesce(sum(weight_2) FILTER (WHERE weight_2 > 0), 0)::int8 AS added
    FROM net_joined_changes
), foremost AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT 110
    ) AS foremost
    WHERE EXISTS (SELECT FROM net_joined_changes) AND (SELECT added <= 100 FROM new_rows_2)
    UNION ALL
    SELECT *
    FROM (
        SELECT ordered.name, ordered.amount, ordered.order_id
        FROM (
            SELECT customers.name, orders.amount, orders.order_id
            FROM shop.orders AS orders, shop.customers AS customers
            WHERE (orders.customer_id = customers.customer_id)
        ) AS ordered
        ORDER BY ordered.amount DESC, ordered.order_id
        LIMIT (SELECT added + 10 FROM new_rows_2)
    ) AS foremost
    WHERE (SELECT added > 100 FROM new_rows_2)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT name, amount, order_id
    FROM (
        SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT name, amount, order_id, 1 AS weight_2
            FROM foremost
            UNION ALL
            SELECT name, amount, order_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY name, amount, order_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), first_changes AS MATERIALIZED (
    SELECT name, amount, order_id, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM foremost AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT ordered.name, ordered.amount, ordered.order_id
            FROM grouped_rows_before AS ordered
            ORDER BY ordered.amount DESC, ordered.order_id
            LIMIT 10
        ) AS past
    ) AS changed
    GROUP BY name, amount, order_id
    HAVING sum(weight_2) <> 0
), joined_changes_2 AS MATERIALIZED (
    SELECT first.name, first.amount, first.weight_2
    FROM first_changes AS first
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, amount AS amount, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, amount, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name, amount
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, amount, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name, amount), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name, stored.amount), 0) = change.row_hash AND ROW(stored.name, stored.amount)::record *= ROW(change.name, change.amount)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name, amount)
    SELECT change.name, change.amount
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight_2)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight_2), 0) FROM numbered_changes WHERE weight_2 < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(name, amount), 0)));

-- customers is looked up by customer_id
-- orders is looked up by customer_id
