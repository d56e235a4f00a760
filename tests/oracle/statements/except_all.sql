-- SELECT customer_id FROM customers EXCEPT ALL SELECT customer_id FROM orders

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
), joined_changes AS MATERIALIZED (
    SELECT customers.customer_id, 1 AS value_2, customers.weight_2
    FROM customers_changes AS customers
), united_changes AS MATERIALIZED (
    SELECT customer_id, value_2, weight_2
    FROM joined_changes
), joined_changes_2 AS MATERIALIZED (
    SELECT united.customer_id, (united.value_2 = 1) AS value_2, (united.value_2 = 2) AS value_3, united.weight_2
    FROM united_changes AS united
), net_joined_changes_2 AS MATERIALIZED (
    SELECT customer_id, value_2, value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes_2
    GROUP BY customer_id, value_2, value_3
    HAVING sum(weight_2) <> 0
), net_joined_changes_2_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes_2 AS partial
), partial AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_2_keys AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_2_keys)
), partial_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT found.customer_id, (found.value_2 = 1) AS value_2, (found.value_2 = 2) AS value_3
    FROM partial AS partial, (
        SELECT customers.customer_id, 1 AS value_2
        FROM partial_keys AS keys, shop.customers AS customers
        WHERE EXISTS (SELECT FROM partial_keys) AND (customers.customer_id = keys.key_1)
        UNION ALL
        SELECT orders.customer_id, 2 AS value_2
        FROM partial_keys AS keys, shop.orders AS orders
        WHERE EXISTS (SELECT FROM partial_keys) AND (orders.customer_id = keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial) AND (found.customer_id = partial.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, value_2, value_3
    FROM (
        SELECT customer_id, value_2, value_3, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, value_2, value_3, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, value_2, value_3, -weight_2
            FROM net_joined_changes_2
        ) AS less
        GROUP BY customer_id, value_2, value_3
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(*) FILTER (WHERE grouped.value_2) AS count, count(*) FILTER (WHERE grouped.value_3) AS count_2, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(*) FILTER (WHERE grouped.value_2) AS count, count(*) FILTER (WHERE grouped.value_3) AS count_2, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_3 AS MATERIALIZED (
    SELECT "group".customer_id AS customer_id, ("group".count - "group".count_2) AS value_2, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
    WHERE ("group".count > "group".count_2)
), repeated_changes AS MATERIALIZED (
    SELECT customer_id, value_2, weight_2 * value_2 AS weight_2
    FROM joined_changes_3
), joined_changes_4 AS MATERIALIZED (
    SELECT repeated.customer_id, repeated.weight_2
    FROM repeated_changes AS repeated
), row_changes AS (
    -- difference of the query's rows
    SELECT customer_id AS customer_id, weight_2
    FROM joined_changes_4
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT customer_id, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT customer_id, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(customer_id), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.customer_id), 0) = change.row_hash AND ROW(stored.customer_id)::record *= ROW(change.customer_id)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (customer_id)
    SELECT change.customer_id
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
    SELECT c2 AS customer_id, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c2, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
    GROUP BY c2
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT orders.customer_id, 2 AS value_2, orders.weight_2
    FROM orders_changes AS orders
), united_changes AS MATERIALIZED (
    SELECT customer_id, value_2, weight_2
    FROM joined_changes
), joined_changes_2 AS MATERIALIZED (
    SELECT united.customer_id, (united.value_2 = 1) AS value_2, (united.value_2 = 2) AS value_3, united.weight_2
    FROM united_changes AS united
), net_joined_changes_2 AS MATERIALIZED (
    SELECT customer_id, value_2, value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes_2
    GROUP BY customer_id, value_2, value_3
    HAVING sum(weight_2) <> 0
), net_joined_changes_2_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes_2 AS partial
), partial AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_2_keys AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_2_keys)
), partial_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT found.customer_id, (found.value_2 = 1) AS value_2, (found.value_2 = 2) AS value_3
    FROM partial AS partial, (
        SELECT customers.customer_id, 1 AS value_2
        FROM partial_keys AS keys, shop.customers AS customers
        WHERE EXISTS (SELECT FROM partial_keys) AND (customers.customer_id = keys.key_1)
        UNION ALL
        SELECT orders.customer_id, 2 AS value_2
        FROM partial_keys AS keys, shop.orders AS orders
        WHERE EXISTS (SELECT FROM partial_keys) AND (orders.customer_id = keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial) AND (found.customer_id = partial.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, value_2, value_3
    FROM (
        SELECT customer_id, value_2, value_3, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, value_2, value_3, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, value_2, value_3, -weight_2
            FROM net_joined_changes_2
        ) AS less
        GROUP BY customer_id, value_2, value_3
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(*) FILTER (WHERE grouped.value_2) AS count, count(*) FILTER (WHERE grouped.value_3) AS count_2, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(*) FILTER (WHERE grouped.value_2) AS count, count(*) FILTER (WHERE grouped.value_3) AS count_2, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_3 AS MATERIALIZED (
    SELECT "group".customer_id AS customer_id, ("group".count - "group".count_2) AS value_2, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
    WHERE ("group".count > "group".count_2)
), repeated_changes AS MATERIALIZED (
    SELECT customer_id, value_2, weight_2 * value_2 AS weight_2
    FROM joined_changes_3
), joined_changes_4 AS MATERIALIZED (
    SELECT repeated.customer_id, repeated.weight_2
    FROM repeated_changes AS repeated
), row_changes AS (
    -- difference of the query's rows
    SELECT customer_id AS customer_id, weight_2
    FROM joined_changes_4
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT customer_id, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT customer_id, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(customer_id), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.customer_id), 0) = change.row_hash AND ROW(stored.customer_id)::record *= ROW(change.customer_id)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (customer_id)
    SELECT change.customer_id
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
    SELECT c1 AS customer_id, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1
    HAVING sum(weight) <> 0
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c2 AS customer_id, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c2
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT customers.customer_id, 1 AS value_2, customers.weight_2
    FROM customers_changes AS customers
), joined_changes_2 AS MATERIALIZED (
    SELECT orders.customer_id, 2 AS value_2, orders.weight_2
    FROM orders_changes AS orders
), united_changes AS MATERIALIZED (
    SELECT customer_id, value_2, weight_2
    FROM joined_changes
    UNION ALL
    SELECT customer_id, value_2, weight_2
    FROM joined_changes_2
), joined_changes_3 AS MATERIALIZED (
    SELECT united.customer_id, (united.value_2 = 1) AS value_2, (united.value_2 = 2) AS value_3, united.weight_2
    FROM united_changes AS united
), net_joined_changes_3 AS MATERIALIZED (
    SELECT customer_id, value_2, value_3, sum(weight_2)::int8 AS weight_2
    FROM joined_changes_3
    GROUP BY customer_id, value_2, value_3
    HAVING sum(weight_2) <> 0
), net_joined_changes_3_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes_3 AS partial
), partial AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_3_keys AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_3_keys)
), partial_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT found.customer_id, (found.value_2 = 1) AS value_2, (found.value_2 = 2) AS value_3
    FROM partial AS partial, (
        SELECT customers.customer_id, 1 AS value_2
        FROM partial_keys AS keys, shop.customers AS customers
        WHERE EXISTS (SELECT FROM partial_keys) AND (customers.customer_id = keys.key_1)
        UNION ALL
        SELECT orders.customer_id, 2 AS value_2
        FROM partial_keys AS keys, shop.orders AS orders
        WHERE EXISTS (SELECT FROM partial_keys) AND (orders.customer_id = keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial) AND (found.customer_id = partial.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT customer_id, value_2, value_3
    FROM (
        SELECT customer_id, value_2, value_3, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT customer_id, value_2, value_3, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT customer_id, value_2, value_3, -weight_2
            FROM net_joined_changes_3
        ) AS less
        GROUP BY customer_id, value_2, value_3
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.customer_id, count(*) FILTER (WHERE grouped.value_2) AS count, count(*) FILTER (WHERE grouped.value_3) AS count_2, 1 AS weight_2
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.customer_id
    UNION ALL
    SELECT grouped.customer_id, count(*) FILTER (WHERE grouped.value_2) AS count, count(*) FILTER (WHERE grouped.value_3) AS count_2, -1 AS weight_2
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.customer_id
), joined_changes_4 AS MATERIALIZED (
    SELECT "group".customer_id AS customer_id, ("group".count - "group".count_2) AS value_2, "group".weight_2 AS weight_2
    FROM group_changes_2 AS "group"
    WHERE ("group".count > "group".count_2)
), repeated_changes AS MATERIALIZED (
    SELECT customer_id, value_2, weight_2 * value_2 AS weight_2
    FROM joined_changes_4
), joined_changes_5 AS MATERIALIZED (
    SELECT repeated.customer_id, repeated.weight_2
    FROM repeated_changes AS repeated
), row_changes AS (
    -- difference of the query's rows
    SELECT customer_id AS customer_id, weight_2
    FROM joined_changes_5
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT customer_id, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY customer_id
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT customer_id, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(customer_id), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.customer_id), 0) = change.row_hash AND ROW(stored.customer_id)::record *= ROW(change.customer_id)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (customer_id)
    SELECT change.customer_id
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

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(customer_id), 0)));

-- customers is looked up by customer_id
-- orders is looked up by customer_id
