-- SELECT c.name FROM customers c WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id AND o.is_paid)

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
), matched_changes AS MATERIALIZED (
    SELECT kept.customer_id, kept.name, kept.weight_2
    FROM customers_changes AS kept
    WHERE EXISTS (SELECT FROM customers_changes) AND NOT EXISTS (SELECT FROM (
        SELECT orders.customer_id
        FROM shop.orders AS orders
        WHERE orders.is_paid
    ) AS other WHERE (kept.customer_id = other.customer_id))
), joined_changes AS MATERIALIZED (
    SELECT matched.name, matched.weight_2
    FROM matched_changes AS matched
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, weight_2
    FROM joined_changes
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name)
    SELECT change.name
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
    SELECT c2 AS customer_id, c7 AS is_paid, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c2, c7, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c2, c7
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT orders.customer_id, orders.weight_2
    FROM orders_changes AS orders
    WHERE orders.is_paid
), joined_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM joined_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), joined_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM joined_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT orders.customer_id
                FROM joined_changes_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_changes_keys) AND orders.is_paid AND (orders.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM joined_changes_keys)
    ) AS counted
    WHERE flip <> 0
), customers_flipped AS MATERIALIZED (
    SELECT customers.customer_id, customers.name, flips.weight_2
    FROM joined_flips AS flips, shop.customers AS customers
    WHERE EXISTS (SELECT FROM joined_flips) AND (customers.customer_id = flips.key_1)
), matched_changes AS MATERIALIZED (
    SELECT customer_id, name, -weight_2 AS weight_2
    FROM customers_flipped
), joined_changes_2 AS MATERIALIZED (
    SELECT matched.name, matched.weight_2
    FROM matched_changes AS matched
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name)
    SELECT change.name
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
    SELECT c2 AS customer_id, c7 AS is_paid, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c2, c7, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c2, c7
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT orders.customer_id, orders.weight_2
    FROM orders_changes AS orders
    WHERE orders.is_paid
), joined_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM joined_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), joined_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM joined_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT orders.customer_id
                FROM joined_changes_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_changes_keys) AND orders.is_paid AND (orders.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM joined_changes_keys)
    ) AS counted
    WHERE flip <> 0
), customers_flipped AS MATERIALIZED (
    SELECT customers.customer_id, customers.name, flips.weight_2
    FROM joined_flips AS flips, shop.customers AS customers
    WHERE EXISTS (SELECT FROM joined_flips) AND (customers.customer_id = flips.key_1)
    UNION ALL
    SELECT customers.customer_id, customers.name, -(flips.weight_2 * customers.weight_2) AS weight_2
    FROM joined_flips AS flips, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM joined_flips) AND (customers.customer_id = flips.key_1)
), matched_changes AS MATERIALIZED (
    SELECT kept.customer_id, kept.name, kept.weight_2
    FROM customers_changes AS kept
    WHERE EXISTS (SELECT FROM customers_changes) AND NOT EXISTS (SELECT FROM (
        SELECT orders.customer_id
        FROM shop.orders AS orders
        WHERE orders.is_paid
    ) AS other WHERE (kept.customer_id = other.customer_id))
    UNION ALL
    SELECT customer_id, name, -weight_2 AS weight_2
    FROM customers_flipped
), joined_changes_2 AS MATERIALIZED (
    SELECT matched.name, matched.weight_2
    FROM matched_changes AS matched
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name)
    SELECT change.name
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
    SELECT c2 AS customer_id, c7 AS is_paid, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c2, c7
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT orders.customer_id, orders.weight_2
    FROM orders_changes AS orders
    WHERE orders.is_paid
), joined_changes_keys AS MATERIALIZED (
    SELECT customer_id AS key_1, sum(weight_2)::int8 AS change_of_weight_2
    FROM joined_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), joined_flips AS MATERIALIZED (
    -- values that got a first partner (1) or lost the last one (-1)
    SELECT key_1, flip AS weight_2
    FROM (
        SELECT changed.key_1, (coalesce(found.partners, 0) > 0)::int - (coalesce(found.partners, 0) - changed.change_of_weight_2 > 0)::int AS flip
        FROM joined_changes_keys AS changed
        LEFT JOIN (
            SELECT customer_id AS key_1, count(*) AS partners
            FROM (
                SELECT orders.customer_id
                FROM joined_changes_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_changes_keys) AND orders.is_paid AND (orders.customer_id = keys.key_1)
            ) AS present
            GROUP BY customer_id
        ) AS found ON found.key_1 = changed.key_1
        WHERE EXISTS (SELECT FROM joined_changes_keys)
    ) AS counted
    WHERE flip <> 0
), customers_flipped AS MATERIALIZED (
    SELECT customers.customer_id, customers.name, flips.weight_2
    FROM joined_flips AS flips, shop.customers AS customers
    WHERE EXISTS (SELECT FROM joined_flips) AND (customers.customer_id = flips.key_1)
    UNION ALL
    SELECT customers.customer_id, customers.name, -(flips.weight_2 * customers.weight_2) AS weight_2
    FROM joined_flips AS flips, customers_changes AS customers
    WHERE EXISTS (SELECT FROM customers_changes) AND EXISTS (SELECT FROM joined_flips) AND (customers.customer_id = flips.key_1)
), matched_changes AS MATERIALIZED (
    SELECT kept.customer_id, kept.name, kept.weight_2
    FROM customers_changes AS kept
    WHERE EXISTS (SELECT FROM customers_changes) AND NOT EXISTS (SELECT FROM (
        SELECT orders.customer_id
        FROM shop.orders AS orders
        WHERE orders.is_paid
    ) AS other WHERE (kept.customer_id = other.customer_id))
    UNION ALL
    SELECT customer_id, name, -weight_2 AS weight_2
    FROM customers_flipped
), joined_changes_2 AS MATERIALIZED (
    SELECT matched.name, matched.weight_2
    FROM matched_changes AS matched
), row_changes AS (
    -- difference of the query's rows
    SELECT name AS name, weight_2
    FROM joined_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY name
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (name)
    SELECT change.name
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

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(name), 0)));

-- customers is looked up by customer_id
-- orders is looked up by customer_id
