-- SELECT order_id, amount * 2 AS twice FROM orders WHERE amount > 10 OR is_paid IS NULL

<<refresh>>
DECLARE
    pending_1 int8;
    at_most_1 int8;
    pending int8;
    markers int8;
    planned text;
    unforeseen boolean := true;
BEGIN
    planned := set_config('plan_cache_mode', 'force_generic_plan', true);
    -- few rows
    WITH pending_changes AS MATERIALIZED (
        -- what is pending, or more than are few; in order, and so by index, as the log may be a long one by then
        SELECT c1, c4, c7, weight FROM mvrefresh."log$2"
        WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
        ORDER BY xid LIMIT 201
    ), foreseen AS MATERIALIZED (
        -- whether these are all, and can be understood
        SELECT count(*) AS pending_rows,
               count(*) <= coalesce(least($2, 200), 200) AND count(*) FILTER (WHERE weight = 0) = 0 AS is_so
        FROM pending_changes
    ), touched_keys AS (
        -- keys of changed rows of shop.orders
        SELECT DISTINCT c1 AS order_id
        FROM pending_changes
        WHERE (SELECT is_so FROM foreseen)
    ), target_rows AS (
        -- their rows as they are now, or that there are none
        SELECT touched.order_id, now.twice, coalesce(now.is_there, false) AS is_there
        FROM touched_keys AS touched
        LEFT JOIN (
            SELECT true AS is_there, orders.order_id AS order_id, (orders.amount * (2)::numeric) AS twice
            FROM shop.orders AS orders
            WHERE ((orders.amount > (10)::numeric) OR (orders.is_paid IS NULL))
        ) AS now ON now.order_id = touched.order_id
    ), found_rows AS MATERIALIZED (
        -- those that are not stored like this
        SELECT target.order_id, target.twice, target.is_there, stored.ctid AS row_address
        FROM target_rows AS target
        LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
        WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.twice IS DISTINCT FROM target.twice))
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
        UPDATE ONLY shop.mv AS stored SET twice = entry.twice
        FROM found_rows AS entry
        WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
        RETURNING 1
    ), inserted_rows AS (
        -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
        INSERT INTO shop.mv (order_id, twice)
        SELECT entry.order_id, entry.twice
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
           (SELECT pending_rows FROM foreseen) AS pending_rows,
           -- nothing was done, as this is not all there is to do
           NOT (SELECT is_so FROM foreseen) AS unforeseen
    INTO snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete, pending_rows, unforeseen;
    IF NOT unforeseen THEN
        EXIT refresh;
    END IF;
    -- the plan of the count goes by index, as the log may be a long one by then
    planned := set_config('enable_seqscan', 'off', true) || set_config('enable_bitmapscan', 'off', true);
    SELECT pending_1, markers_1,
           pg_current_snapshot(), 0, 0, 0, 0, false
    INTO pending_1, markers, snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete
    FROM (SELECT count(*) AS pending_1, count(*) FILTER (WHERE weight = 0) AS markers_1
          FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT $2 + 1) AS pending) AS count_1;
    planned := set_config('enable_seqscan', 'on', true) || set_config('enable_bitmapscan', 'on', true);
    pending := pending_1;
    pending_rows := pending;
    at_most_1 := pending_1 + 100;
    IF pending = 0 OR pending > $2 THEN
        EXIT refresh;
    END IF;
    IF markers > 0 THEN
        -- something happened that is not in the logs
        must_complete := true;
        EXIT refresh;
    ELSIF pending_1 = pending AND pending <= 3000 THEN
        -- few rows: the session keeps the plan
        WITH foreseen AS MATERIALIZED (
            -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
            SELECT pg_current_snapshot()::text = snapshot::text OR (
                (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
                     FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT 3100) AS pending)
            ) AS is_so
        ), touched_keys AS (
            -- keys of changed rows of shop.orders
            SELECT DISTINCT c1 AS order_id
            FROM (
                SELECT c1, weight FROM mvrefresh."log$2"
                WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
                LIMIT 3100
            ) AS pending
        ), target_rows AS (
            -- their rows as they are now, or that there are none
            SELECT touched.order_id, now.twice, coalesce(now.is_there, false) AS is_there
            FROM touched_keys AS touched
            LEFT JOIN (
                SELECT true AS is_there, orders.order_id AS order_id, (orders.amount * (2)::numeric) AS twice
                FROM shop.orders AS orders
                WHERE ((orders.amount > (10)::numeric) OR (orders.is_paid IS NULL))
            ) AS now ON now.order_id = touched.order_id
        ), found_rows AS MATERIALIZED (
            -- those that are not stored like this
            SELECT target.order_id, target.twice, target.is_there, stored.ctid AS row_address
            FROM target_rows AS target
            LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
            WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.twice IS DISTINCT FROM target.twice))
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
            UPDATE ONLY shop.mv AS stored SET twice = entry.twice
            FROM found_rows AS entry
            WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
            RETURNING 1
        ), inserted_rows AS (
            -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
            INSERT INTO shop.mv (order_id, twice)
            SELECT entry.order_id, entry.twice
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
               NOT (SELECT is_so FROM foreseen) AS unforeseen
        INTO snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete, unforeseen;
    ELSIF pending_1 = pending THEN
        planned := set_config('plan_cache_mode', 'force_custom_plan', true);
        WITH foreseen AS MATERIALIZED (
            -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
            SELECT pg_current_snapshot()::text = snapshot::text OR (
                (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
                     FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
            ) AS is_so
        ), touched_keys AS (
            -- keys of changed rows of shop.orders
            SELECT DISTINCT c1 AS order_id
            FROM (
                SELECT c1, weight FROM mvrefresh."log$2"
                WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND (SELECT is_so FROM foreseen)
                LIMIT at_most_1
            ) AS pending
        ), target_rows AS (
            -- their rows as they are now, or that there are none
            SELECT touched.order_id, now.twice, coalesce(now.is_there, false) AS is_there
            FROM touched_keys AS touched
            LEFT JOIN (
                SELECT true AS is_there, orders.order_id AS order_id, (orders.amount * (2)::numeric) AS twice
                FROM shop.orders AS orders
                WHERE ((orders.amount > (10)::numeric) OR (orders.is_paid IS NULL))
            ) AS now ON now.order_id = touched.order_id
        ), found_rows AS MATERIALIZED (
            -- those that are not stored like this
            SELECT target.order_id, target.twice, target.is_there, stored.ctid AS row_address
            FROM target_rows AS target
            LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
            WHERE target.is_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.twice IS DISTINCT FROM target.twice))
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
            UPDATE ONLY shop.mv AS stored SET twice = entry.twice
            FROM found_rows AS entry
            WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
            RETURNING 1
        ), inserted_rows AS (
            -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
            INSERT INTO shop.mv (order_id, twice)
            SELECT entry.order_id, entry.twice
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
               NOT (SELECT is_so FROM foreseen) AS unforeseen
        INTO snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete, unforeseen;
    END IF;
    IF unforeseen THEN
        -- other tables have changed as well, or more has come meanwhile
        planned := set_config('plan_cache_mode', 'force_custom_plan', true);
        WITH orders_changes AS (
            -- changes of shop.orders since the watermark
            SELECT c1 AS order_id, c4 AS amount, c7 AS is_paid, weight::int4 AS weight_2
            FROM mvrefresh."log$2"
            WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight <> 0
        ), row_changes AS (
            -- difference of the query's rows
            SELECT orders.order_id AS order_id, (orders.amount * (2)::numeric) AS twice, orders.weight_2 AS weight_2
            FROM orders_changes AS orders
            WHERE ((orders.amount > (10)::numeric) OR (orders.is_paid IS NULL))
        ), net_rows AS (
            -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
            SELECT order_id, twice, sum(weight_2)::int8 AS weight_2
            FROM row_changes
            GROUP BY order_id, twice
            HAVING sum(weight_2) <> 0
        ), target_rows AS (
            -- by keys: the row that there is now, if any
            SELECT DISTINCT ON (order_id) order_id, twice, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id) AS was_there
            FROM net_rows
            ORDER BY order_id, weight_2 DESC
        ), found_rows AS MATERIALIZED (
            -- those that are not stored like this
            SELECT target.order_id, target.twice, target.is_there, target.was_there, stored.ctid AS row_address
            FROM target_rows AS target
            LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id
            WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL) OR (target.is_there AND (stored.twice IS DISTINCT FROM target.twice))
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
            UPDATE ONLY shop.mv AS stored SET twice = entry.twice
            FROM found_rows AS entry
            WHERE stored.ctid = entry.row_address AND entry.is_there AND (SELECT is_so FROM in_place)
            RETURNING 1
        ), inserted_rows AS (
            -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
            INSERT INTO shop.mv (order_id, twice)
            SELECT entry.order_id, entry.twice
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
               EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete
        INTO snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete;
    END IF;
END;

CREATE INDEX ON shop.mv (order_id);

