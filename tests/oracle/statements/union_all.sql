-- SELECT name FROM customers UNION ALL SELECT "a b" FROM "Odd""Names" WHERE "select" = 1

-- if nothing is pending but in mvrefresh."log$1"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$3" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), customers_changes AS (
    -- changes of shop.customers since the watermark
    SELECT c2 AS name, weight::int4 AS weight
    FROM (
        SELECT c2, weight FROM mvrefresh."log$1"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
), row_changes AS (
    -- difference of the query's rows
    SELECT customers.name AS name, customers.weight AS weight
    FROM customers_changes AS customers
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight)::int8 AS weight
    FROM row_changes
    GROUP BY name
    HAVING sum(weight) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight < 0
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

-- if nothing is pending but in mvrefresh."log$3"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_2 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$3" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_2) AS pending)
        AND NOT EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))
    ) AS is_so
), "Odd""Names_changes" AS (
    -- changes of shop.Odd"Names since the watermark
    SELECT c1 AS "select", c2 AS "a b", weight::int4 AS weight
    FROM (
        SELECT c1, c2, weight FROM mvrefresh."log$3"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_2
    ) AS pending
), row_changes AS (
    -- difference of the query's rows
    SELECT "Odd""Names"."a b" AS name, "Odd""Names".weight AS weight
    FROM "Odd""Names_changes" AS "Odd""Names"
    WHERE ("Odd""Names"."select" = 1)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight)::int8 AS weight
    FROM row_changes
    GROUP BY name
    HAVING sum(weight) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight < 0
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
WITH customers_changes AS (
    -- changes of shop.customers since the watermark
    SELECT c2 AS name, weight::int4 AS weight
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), "Odd""Names_changes" AS (
    -- changes of shop.Odd"Names since the watermark
    SELECT c1 AS "select", c2 AS "a b", weight::int4 AS weight
    FROM mvrefresh."log$3"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT customers.name AS name, customers.weight AS weight
    FROM customers_changes AS customers
    UNION ALL
    SELECT "Odd""Names"."a b" AS name, "Odd""Names".weight AS weight
    FROM "Odd""Names_changes" AS "Odd""Names"
    WHERE ("Odd""Names"."select" = 1)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT name, sum(weight)::int8 AS weight
    FROM row_changes
    GROUP BY name
    HAVING sum(weight) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT name, weight, row_number() OVER () AS change_number, hash_record_extended(ROW(name), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and the same
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.name), 0) = change.row_hash AND ROW(stored.name)::record *= ROW(change.name)::record
        WHERE change.weight < 0
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
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0)
       OR EXISTS (SELECT FROM mvrefresh."log$3" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(name), 0)));

