-- SELECT DISTINCT region FROM customers

-- if nothing is pending but in mvrefresh."log$1"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
    ) AS is_so
), customers_changes AS (
    -- changes of shop.customers since the watermark
    SELECT c3 AS region, weight::int4 AS weight
    FROM (
        SELECT c3, weight FROM mvrefresh."log$1"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, customers.weight AS weight
    FROM customers_changes AS customers
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight) <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           stored.row_count AS row_count_before
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
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS region, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM merged_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1)::record *<> ROW(changed.key_1)::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL)
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND NOT entry.is_there
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region)
    SELECT entry.region
    FROM found_rows AS entry
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE entry.is_there AND (entry.row_address IS NULL)
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - 0::int8
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL))
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) AS unforeseen;

-- else
WITH customers_changes AS (
    -- changes of shop.customers since the watermark
    SELECT c3 AS region, weight::int4 AS weight
    FROM mvrefresh."log$1"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
), input_changes AS (
    -- difference of the rows that are grouped
    SELECT customers.region AS key_1, customers.weight AS weight
    FROM customers_changes AS customers
), group_changes AS (
    -- by how much counts and sums of each group change
    SELECT key_1, coalesce(sum(weight), 0)::int8 AS row_count
    FROM input_changes
    GROUP BY key_1
    HAVING sum(weight) <> 0
), merged_groups AS MATERIALIZED (
    -- the groups with their new counts and sums
    SELECT change.key_1, stored.ctid AS row_address,
           coalesce(stored.row_count, 0) + change.row_count AS row_count,
           stored.row_count AS row_count_before
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
), target_rows AS (
    -- the rows of changed groups that differ from before
    SELECT changed.key_1 AS region, (changed.row_count > 0) AS is_there, (changed.row_address IS NOT NULL) AS was_there
    FROM merged_groups AS changed
    WHERE (changed.row_count > 0) <> (changed.row_address IS NOT NULL) OR ((changed.row_count > 0) AND ROW(changed.key_1)::record *<> ROW(changed.key_1)::record)
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.region, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON hash_record_extended(ROW(stored.region), 0) = hash_record_extended(ROW(target.region), 0) AND stored.region IS NOT DISTINCT FROM target.region
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL)
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND NOT entry.is_there
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (region)
    SELECT entry.region
    FROM found_rows AS entry
    CROSS JOIN (SELECT count(*) FROM deleted_rows) AS deletions
    WHERE entry.is_there AND (entry.row_address IS NULL)
    RETURNING 1
)
SELECT pg_current_snapshot() AS snapshot,
       (SELECT count(*) FROM inserted_rows) AS rows_inserted,
       0::int8 AS rows_updated,
       (SELECT count(*) FROM deleted_rows) AS rows_deleted,
       -- rows that should have been there
       ((SELECT count(*) FROM found_rows WHERE row_address IS NOT NULL) - (SELECT count(*) FROM deleted_rows) - 0::int8
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL))
        + (SELECT count(*) FROM merged_groups WHERE row_count < 0))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$1" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv ((hash_record_extended(ROW(region), 0)));

CREATE TABLE mvrefresh."state$1" (
    key_1 text COLLATE "pg_catalog"."default",
    row_count int8 NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX ON mvrefresh."state$1" ((hash_record_extended(ROW(key_1), 0)));

SELECT key_1, count(*) AS row_count
FROM (
    SELECT customers.region AS key_1
    FROM shop.customers AS customers
) AS input_rows
GROUP BY key_1;

