-- SELECT region, count(DISTINCT name) AS names, string_agg(name, ', ' ORDER BY name) AS listed FROM customers GROUP BY region

-- if nothing is pending but in mvrefresh."log$1"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
    ) AS is_so
), customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c2 AS name, c3 AS region, sum(weight)::int8 AS weight
    FROM (
        SELECT c2, c3, weight FROM mvrefresh."log$1"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c2, c3
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT customers.region, customers.name, customers.weight
    FROM customers_changes AS customers
), net_joined_changes AS MATERIALIZED (
    SELECT region, name, sum(weight)::int8 AS weight
    FROM joined_changes
    GROUP BY region, name
    HAVING sum(weight) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT region AS key_1
    FROM net_joined_changes AS partial
), net_joined_changes_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_keys
    WHERE key_1 IS NULL
), grouped_rows_now AS MATERIALIZED (
    SELECT customers.region, customers.name
    FROM net_joined_changes_keys AS keys, shop.customers AS customers
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (customers.region = keys.key_1)
    UNION ALL
    SELECT customers.region, customers.name
    FROM net_joined_changes_keys_with_null AS keys, shop.customers AS customers
    WHERE EXISTS (SELECT FROM net_joined_changes_keys_with_null) AND (customers.region IS NULL)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT region, name
    FROM (
        SELECT region, name, sum(weight)::int8 AS weight
        FROM (
            SELECT region, name, 1 AS weight
            FROM grouped_rows_now
            UNION ALL
            SELECT region, name, -weight
            FROM net_joined_changes
        ) AS less
        GROUP BY region, name
        HAVING sum(weight) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.region, count(DISTINCT grouped.name) AS count, string_agg(grouped.name, (', ')::text ORDER BY grouped.name) AS string_agg, 1 AS weight
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.region
    UNION ALL
    SELECT grouped.region, count(DISTINCT grouped.name) AS count, string_agg(grouped.name, (', ')::text ORDER BY grouped.name) AS string_agg, -1 AS weight
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.region
), row_changes AS (
    -- difference of the query's rows
    SELECT region AS region, count AS names, string_agg AS listed, weight
    FROM group_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT region, names, listed, sum(weight)::int8 AS weight
    FROM row_changes
    GROUP BY region, names, listed
    HAVING sum(weight) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT region, names, listed, weight, row_number() OVER () AS change_number, hash_record_extended(ROW(region, names, listed), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region, stored.names, stored.listed), 0) = change.row_hash AND ROW(stored.region, stored.names, stored.listed)::record *= ROW(change.region, change.names, change.listed)::record
        WHERE change.weight < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, names, listed)
    SELECT change.region, change.names, change.listed
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight), 0) FROM numbered_changes WHERE weight < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) AS unforeseen;

-- else
WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c2 AS name, c3 AS region, sum(weight)::int8 AS weight
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c2, c3
    HAVING sum(weight) <> 0
), joined_changes AS MATERIALIZED (
    SELECT customers.region, customers.name, customers.weight
    FROM customers_changes AS customers
), net_joined_changes AS MATERIALIZED (
    SELECT region, name, sum(weight)::int8 AS weight
    FROM joined_changes
    GROUP BY region, name
    HAVING sum(weight) <> 0
), net_joined_changes_keys AS MATERIALIZED (
    SELECT DISTINCT region AS key_1
    FROM net_joined_changes AS partial
), net_joined_changes_keys_with_null AS MATERIALIZED (
    SELECT *
    FROM net_joined_changes_keys
    WHERE key_1 IS NULL
), grouped_rows_now AS MATERIALIZED (
    SELECT customers.region, customers.name
    FROM net_joined_changes_keys AS keys, shop.customers AS customers
    WHERE EXISTS (SELECT FROM net_joined_changes_keys) AND (customers.region = keys.key_1)
    UNION ALL
    SELECT customers.region, customers.name
    FROM net_joined_changes_keys_with_null AS keys, shop.customers AS customers
    WHERE EXISTS (SELECT FROM net_joined_changes_keys_with_null) AND (customers.region IS NULL)
), grouped_rows_before AS MATERIALIZED (
    -- as they were, each as often as it was there
    SELECT region, name
    FROM (
        SELECT region, name, sum(weight)::int8 AS weight
        FROM (
            SELECT region, name, 1 AS weight
            FROM grouped_rows_now
            UNION ALL
            SELECT region, name, -weight
            FROM net_joined_changes
        ) AS less
        GROUP BY region, name
        HAVING sum(weight) <> 0
    ) AS counted
    CROSS JOIN generate_series(1, counted.weight)
), group_changes_2 AS MATERIALIZED (
    SELECT grouped.region, count(DISTINCT grouped.name) AS count, string_agg(grouped.name, (', ')::text ORDER BY grouped.name) AS string_agg, 1 AS weight
    FROM grouped_rows_now AS grouped
    GROUP BY grouped.region
    UNION ALL
    SELECT grouped.region, count(DISTINCT grouped.name) AS count, string_agg(grouped.name, (', ')::text ORDER BY grouped.name) AS string_agg, -1 AS weight
    FROM grouped_rows_before AS grouped
    GROUP BY grouped.region
), row_changes AS (
    -- difference of the query's rows
    SELECT region AS region, count AS names, string_agg AS listed, weight
    FROM group_changes_2
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT region, names, listed, sum(weight)::int8 AS weight
    FROM row_changes
    GROUP BY region, names, listed
    HAVING sum(weight) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT region, names, listed, weight, row_number() OVER () AS change_number, hash_record_extended(ROW(region, names, listed), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region, stored.names, stored.listed), 0) = change.row_hash AND ROW(stored.region, stored.names, stored.listed)::record *= ROW(change.region, change.names, change.listed)::record
        WHERE change.weight < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region, names, listed)
    SELECT change.region, change.names, change.listed
    FROM numbered_changes AS change
    CROSS JOIN generate_series(1, change.weight)
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT coalesce(sum(-weight), 0) FROM numbered_changes WHERE weight < 0) - (SELECT count(*) FROM deleted_rows))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(region, names, listed), 0)));

-- customers is looked up by region
