-- SELECT DISTINCT region FROM customers

WITH customers_changes AS MATERIALIZED (
    -- net change of shop.customers since the watermark
    SELECT c3 AS region, sum(weight)::int8 AS weight
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c3
    HAVING sum(weight) <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, customers.weight AS weight
    FROM customers_changes AS customers
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count
    FROM group_changes AS change
    LEFT JOIN ONLY mvrefresh."state$1" AS stored ON hash_record_extended(ROW(stored.key_1), 0) = hash_record_extended(ROW(change.key_1), 0) AND stored.key_1 IS NOT DISTINCT FROM change.key_1
), deleted_groups AS (
    DELETE FROM ONLY mvrefresh."state$1" AS stored USING merged_groups AS changed
    WHERE stored.ctid = changed.row_address AND NOT (changed.row_count > 0)
), updated_groups AS (
    UPDATE ONLY mvrefresh."state$1" AS stored SET row_count = changed.row_count
    FROM merged_groups AS changed
    WHERE stored.ctid = changed.row_address AND changed.row_count > 0
), inserted_groups AS (
    INSERT INTO mvrefresh."state$1" (key_1, row_count)
    SELECT key_1, row_count FROM merged_groups WHERE row_address IS NULL AND row_count > 0
), row_changes AS (
    -- the rows of changed groups: minus as they were, plus as they are
    SELECT stored.key_1 AS region, -1 AS weight
    FROM merged_groups AS changed JOIN ONLY mvrefresh."state$1" AS stored ON stored.ctid = changed.row_address
    WHERE stored.row_count > 0
    UNION ALL
    SELECT changed.key_1 AS region, 1 AS weight
    FROM merged_groups AS changed
    WHERE changed.row_count > 0
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT region, sum(weight)::int8 AS weight
    FROM row_changes
    GROUP BY region
    HAVING sum(weight) <> 0
), numbered_changes AS MATERIALIZED (
    SELECT region, weight, row_number() OVER () AS change_number, hash_record_extended(ROW(region), 0) AS row_hash
    FROM net_rows
), doomed_rows AS MATERIALIZED (
    -- as many stored rows as each negative weight says, found by hash and equal byte for byte
    SELECT candidate.row_address
    FROM (
        SELECT stored.ctid AS row_address, -change.weight AS surplus,
               row_number() OVER (PARTITION BY change.change_number) AS occurrence
        FROM numbered_changes AS change
        JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = change.row_hash AND ROW(stored.region)::record *= ROW(change.region)::record
        WHERE change.weight < 0
    ) AS candidate
    WHERE candidate.occurrence <= candidate.surplus
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING doomed_rows
    WHERE stored.ctid = doomed_rows.row_address
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region)
    SELECT change.region
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
       ((SELECT coalesce(sum(-weight), 0) FROM numbered_changes WHERE weight < 0) - (SELECT count(*) FROM deleted_rows)
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(region), 0)));

CREATE TABLE mvrefresh."state$1" (
    key_1 text COLLATE "pg_catalog"."default",
    row_count int8 NOT NULL
);
CREATE INDEX ON mvrefresh."state$1" ((hash_record_extended(ROW(key_1), 0)));

SELECT key_1, count(*) AS row_count
FROM (
    SELECT customers.region AS key_1
    FROM shop.customers AS customers
) AS input_rows
GROUP BY key_1;
