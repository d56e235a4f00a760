-- SELECT order_id, rank() OVER (PARTITION BY customer_id ORDER BY amount DESC) AS place, sum(amount) OVER (PARTITION BY ordered_on) AS of_day FROM orders

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
    ) AS is_so
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c3 AS ordered_on, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c3, c4, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2, c3, c4
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id, orders.weight_2
    FROM orders_changes AS orders
), net_joined_changes AS MATERIALIZED (
    SELECT order_id, ordered_on, amount, customer_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY order_id, ordered_on, amount, customer_id
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM net_joined_changes_keys AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (orders.customer_id = keys.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT order_id, ordered_on, amount, customer_id
    FROM (
        SELECT order_id, ordered_on, amount, customer_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT order_id, ordered_on, amount, customer_id, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT order_id, ordered_on, amount, customer_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY order_id, ordered_on, amount, customer_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), windowed_changes AS MATERIALIZED (
    SELECT order_id, ordered_on, amount, customer_id, rank, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM grouped_rows_now AS windowed
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM grouped_rows_before AS windowed
        ) AS past
    ) AS changed
    GROUP BY order_id, ordered_on, amount, customer_id, rank
    HAVING sum(weight_2) <> 0
), joined_changes_2 AS MATERIALIZED (
    SELECT windowed.order_id, windowed.rank, windowed.ordered_on, windowed.amount, windowed.weight_2
    FROM windowed_changes AS windowed
), net_joined_changes_2 AS MATERIALIZED (
    SELECT order_id, rank, ordered_on, amount, sum(weight_2)::int8 AS weight_2
    FROM joined_changes_2
    GROUP BY order_id, rank, ordered_on, amount
    HAVING sum(weight_2) <> 0
), net_joined_changes_2_keys AS MATERIALIZED (
    SELECT DISTINCT ordered_on AS key_1
    FROM net_joined_changes_2 AS partial
), partial AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_2_keys AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_2_keys)
), partial_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial AS partial
    WHERE partial.key_1 IS NOT NULL
), partial_keys_keys AS MATERIALIZED (
    SELECT DISTINCT key_1 AS key_1
    FROM partial_keys AS partial
    WHERE key_1 IS NOT NULL
), joined_found AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM partial_keys_keys AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM partial_keys_keys) AND (orders.ordered_on = keys.key_1)
), joined_found_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM joined_found AS partial
), net_joined_changes_2_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_2_keys
    WHERE key_1 IS NULL
), partial_2 AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_2_keys_with_null AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_2_keys_with_null)
), partial_2_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial_2 AS partial
), partial_2_keys_keys AS MATERIALIZED (
    SELECT DISTINCT key_1 AS key_1
    FROM partial_2_keys AS partial
), partial_2_keys_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM partial_2_keys_keys
    WHERE key_1 IS NULL
), joined_found_2 AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM partial_2_keys_keys AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM partial_2_keys_keys) AND (orders.ordered_on = keys.key_1)
    UNION ALL
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM partial_2_keys_keys_with_null AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM partial_2_keys_keys_with_null) AND (orders.ordered_on IS NULL)
), joined_found_2_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM joined_found_2 AS partial
), partial_2_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM partial_2_keys
    WHERE key_1 IS NULL
), grouped_rows_now_2 AS MATERIALIZED (
    SELECT found.order_id, found.rank, found.ordered_on, found.amount
    FROM partial AS partial, (
        SELECT found.order_id, found.ordered_on, found.amount, found.customer_id, found.rank
        FROM partial_keys AS keys, (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM (
                SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
                FROM joined_found_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_found_keys) AND (orders.customer_id = keys.key_1)
            ) AS windowed
        ) AS found
        WHERE EXISTS (SELECT FROM partial_keys) AND (found.ordered_on = keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial) AND (found.ordered_on = partial.key_1)
    UNION ALL
    SELECT found.order_id, found.rank, found.ordered_on, found.amount
    FROM partial_2 AS partial, (
        SELECT found.order_id, found.ordered_on, found.amount, found.customer_id, found.rank
        FROM partial_2_keys AS keys, (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM (
                SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
                FROM joined_found_2_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_found_2_keys) AND (orders.customer_id = keys.key_1)
            ) AS windowed
        ) AS found
        WHERE EXISTS (SELECT FROM partial_2_keys) AND (found.ordered_on = keys.key_1)
        UNION ALL
        SELECT found.order_id, found.ordered_on, found.amount, found.customer_id, found.rank
        FROM partial_2_keys_with_null AS keys, (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM (
                SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
                FROM joined_found_2_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_found_2_keys) AND (orders.customer_id = keys.key_1)
            ) AS windowed
        ) AS found
        WHERE EXISTS (SELECT FROM partial_2_keys_with_null) AND (found.ordered_on IS NOT DISTINCT FROM keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial_2) AND (found.ordered_on IS NOT DISTINCT FROM partial.key_1)
), grouped_rows_before_2 AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT order_id, rank, ordered_on, amount
    FROM (
        SELECT order_id, rank, ordered_on, amount, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT order_id, rank, ordered_on, amount, 1 AS weight_2
            FROM grouped_rows_now_2
            UNION ALL
            SELECT order_id, rank, ordered_on, amount, -weight_2
            FROM net_joined_changes_2
        ) AS less
        GROUP BY order_id, rank, ordered_on, amount
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), windowed_changes_2 AS MATERIALIZED (
    SELECT order_id, rank, ordered_on, amount, sum, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT windowed.order_id, windowed.rank, windowed.ordered_on, windowed.amount, sum(windowed.amount) OVER (PARTITION BY windowed.ordered_on) AS sum
            FROM grouped_rows_now_2 AS windowed
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT windowed.order_id, windowed.rank, windowed.ordered_on, windowed.amount, sum(windowed.amount) OVER (PARTITION BY windowed.ordered_on) AS sum
            FROM grouped_rows_before_2 AS windowed
        ) AS past
    ) AS changed
    GROUP BY order_id, rank, ordered_on, amount, sum
    HAVING sum(weight_2) <> 0
), joined_changes_3 AS MATERIALIZED (
    SELECT windowed.order_id, windowed.rank, windowed.sum, windowed.weight_2
    FROM windowed_changes_2 AS windowed
), row_changes AS (
    -- difference of the query's rows
    SELECT order_id AS order_id, rank AS place, sum AS of_day, weight_2
    FROM joined_changes_3
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, place, of_day, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, place, of_day
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT order_id, place, of_day, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(order_id, place, of_day), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.order_id, stored.place, stored.of_day), 0) = change.row_hash AND ROW(stored.order_id, stored.place, stored.of_day)::record *= ROW(change.order_id, change.place, change.of_day)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, place, of_day)
    SELECT change.order_id, change.place, change.of_day
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
WITH orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c3 AS ordered_on, c4 AS amount, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2, c3, c4
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id, orders.weight_2
    FROM orders_changes AS orders
), net_joined_changes AS MATERIALIZED (
    SELECT order_id, ordered_on, amount, customer_id, sum(weight_2)::int8 AS weight_2
    FROM joined_changes
    GROUP BY order_id, ordered_on, amount, customer_id
    HAVING sum(weight_2) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM net_joined_changes AS partial
), grouped_rows_now AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM net_joined_changes_keys AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (orders.customer_id = keys.key_1)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT order_id, ordered_on, amount, customer_id
    FROM (
        SELECT order_id, ordered_on, amount, customer_id, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT order_id, ordered_on, amount, customer_id, 1 AS weight_2
            FROM grouped_rows_now
            UNION ALL
            SELECT order_id, ordered_on, amount, customer_id, -weight_2
            FROM net_joined_changes
        ) AS less
        GROUP BY order_id, ordered_on, amount, customer_id
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), windowed_changes AS MATERIALIZED (
    SELECT order_id, ordered_on, amount, customer_id, rank, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM grouped_rows_now AS windowed
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM grouped_rows_before AS windowed
        ) AS past
    ) AS changed
    GROUP BY order_id, ordered_on, amount, customer_id, rank
    HAVING sum(weight_2) <> 0
), joined_changes_2 AS MATERIALIZED (
    SELECT windowed.order_id, windowed.rank, windowed.ordered_on, windowed.amount, windowed.weight_2
    FROM windowed_changes AS windowed
), net_joined_changes_2 AS MATERIALIZED (
    SELECT order_id, rank, ordered_on, amount, sum(weight_2)::int8 AS weight_2
    FROM joined_changes_2
    GROUP BY order_id, rank, ordered_on, amount
    HAVING sum(weight_2) <> 0
), net_joined_changes_2_keys AS MATERIALIZED (
    SELECT DISTINCT ordered_on AS key_1
    FROM net_joined_changes_2 AS partial
), partial AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_2_keys AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_2_keys)
), partial_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial AS partial
    WHERE partial.key_1 IS NOT NULL
), partial_keys_keys AS MATERIALIZED (
    SELECT DISTINCT key_1 AS key_1
    FROM partial_keys AS partial
    WHERE key_1 IS NOT NULL
), joined_found AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM partial_keys_keys AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM partial_keys_keys) AND (orders.ordered_on = keys.key_1)
), joined_found_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM joined_found AS partial
), net_joined_changes_2_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_2_keys
    WHERE key_1 IS NULL
), partial_2 AS MATERIALIZED (
    SELECT keys.key_1, 1 AS weight_2
    FROM net_joined_changes_2_keys_with_null AS keys
    WHERE EXISTS (SELECT FROM net_joined_changes_2_keys_with_null)
), partial_2_keys AS MATERIALIZED (
    SELECT DISTINCT partial.key_1 AS key_1
    FROM partial_2 AS partial
), partial_2_keys_keys AS MATERIALIZED (
    SELECT DISTINCT key_1 AS key_1
    FROM partial_2_keys AS partial
), partial_2_keys_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM partial_2_keys_keys
    WHERE key_1 IS NULL
), joined_found_2 AS MATERIALIZED (
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM partial_2_keys_keys AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM partial_2_keys_keys) AND (orders.ordered_on = keys.key_1)
    UNION ALL
    SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
    FROM partial_2_keys_keys_with_null AS keys, shop.orders AS orders
    WHERE EXISTS (SELECT FROM partial_2_keys_keys_with_null) AND (orders.ordered_on IS NULL)
), joined_found_2_keys AS MATERIALIZED (
    SELECT DISTINCT customer_id AS key_1
    FROM joined_found_2 AS partial
), partial_2_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM partial_2_keys
    WHERE key_1 IS NULL
), grouped_rows_now_2 AS MATERIALIZED (
    SELECT found.order_id, found.rank, found.ordered_on, found.amount
    FROM partial AS partial, (
        SELECT found.order_id, found.ordered_on, found.amount, found.customer_id, found.rank
        FROM partial_keys AS keys, (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM (
                SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
                FROM joined_found_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_found_keys) AND (orders.customer_id = keys.key_1)
            ) AS windowed
        ) AS found
        WHERE EXISTS (SELECT FROM partial_keys) AND (found.ordered_on = keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial) AND (found.ordered_on = partial.key_1)
    UNION ALL
    SELECT found.order_id, found.rank, found.ordered_on, found.amount
    FROM partial_2 AS partial, (
        SELECT found.order_id, found.ordered_on, found.amount, found.customer_id, found.rank
        FROM partial_2_keys AS keys, (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM (
                SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
                FROM joined_found_2_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_found_2_keys) AND (orders.customer_id = keys.key_1)
            ) AS windowed
        ) AS found
        WHERE EXISTS (SELECT FROM partial_2_keys) AND (found.ordered_on = keys.key_1)
        UNION ALL
        SELECT found.order_id, found.ordered_on, found.amount, found.customer_id, found.rank
        FROM partial_2_keys_with_null AS keys, (
            SELECT windowed.order_id, windowed.ordered_on, windowed.amount, windowed.customer_id, rank() OVER (PARTITION BY windowed.customer_id ORDER BY windowed.amount DESC) AS rank
            FROM (
                SELECT orders.order_id, orders.ordered_on, orders.amount, orders.customer_id
                FROM joined_found_2_keys AS keys, shop.orders AS orders
                WHERE EXISTS (SELECT FROM joined_found_2_keys) AND (orders.customer_id = keys.key_1)
            ) AS windowed
        ) AS found
        WHERE EXISTS (SELECT FROM partial_2_keys_with_null) AND (found.ordered_on IS NOT DISTINCT FROM keys.key_1)
    ) AS found
    WHERE EXISTS (SELECT FROM partial_2) AND (found.ordered_on IS NOT DISTINCT FROM partial.key_1)
), grouped_rows_before_2 AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT order_id, rank, ordered_on, amount
    FROM (
        SELECT order_id, rank, ordered_on, amount, sum(weight_2)::int8 AS weight_2
        FROM (
            SELECT order_id, rank, ordered_on, amount, 1 AS weight_2
            FROM grouped_rows_now_2
            UNION ALL
            SELECT order_id, rank, ordered_on, amount, -weight_2
            FROM net_joined_changes_2
        ) AS less
        GROUP BY order_id, rank, ordered_on, amount
        HAVING sum(weight_2) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight_2)
), windowed_changes_2 AS MATERIALIZED (
    SELECT order_id, rank, ordered_on, amount, sum, sum(weight_2)::int8 AS weight_2
    FROM (
        SELECT *, 1 AS weight_2
        FROM (
            SELECT windowed.order_id, windowed.rank, windowed.ordered_on, windowed.amount, sum(windowed.amount) OVER (PARTITION BY windowed.ordered_on) AS sum
            FROM grouped_rows_now_2 AS windowed
        ) AS present
        UNION ALL
        SELECT *, -1
        FROM (
            SELECT windowed.order_id, windowed.rank, windowed.ordered_on, windowed.amount, sum(windowed.amount) OVER (PARTITION BY windowed.ordered_on) AS sum
            FROM grouped_rows_before_2 AS windowed
        ) AS past
    ) AS changed
    GROUP BY order_id, rank, ordered_on, amount, sum
    HAVING sum(weight_2) <> 0
), joined_changes_3 AS MATERIALIZED (
    SELECT windowed.order_id, windowed.rank, windowed.sum, windowed.weight_2
    FROM windowed_changes_2 AS windowed
), row_changes AS (
    -- difference of the query's rows
    SELECT order_id AS order_id, rank AS place, sum AS of_day, weight_2
    FROM joined_changes_3
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, place, of_day, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, place, of_day
    HAVING sum(weight_2) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT order_id, place, of_day, weight_2, row_number() OVER () AS change_number, hash_record_extended(ROW(order_id, place, of_day), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight_2 AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.order_id, stored.place, stored.of_day), 0) = change.row_hash AND ROW(stored.order_id, stored.place, stored.of_day)::record *= ROW(change.order_id, change.place, change.of_day)::record
        WHERE change.weight_2 < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, place, of_day)
    SELECT change.order_id, change.place, change.of_day
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
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(order_id, place, of_day), 0)));

-- orders is looked up by customer_id
-- orders is looked up by ordered_on
