-- SELECT a.order_id, b.order_id AS later FROM paid_orders a JOIN paid_orders b ON a.customer_id = b.customer_id AND a.ordered_on < b.ordered_on

-- if nothing is pending but in mvrefresh."log$2"
WITH foreseen AS MATERIALIZED (
    -- whether nothing else is pending than was counted: it is the same snapshot, or looked for anew
    SELECT pg_current_snapshot()::text = snapshot::text OR (
        (SELECT count(*) < at_most_1 AND count(*) FILTER (WHERE weight = 0) = 0
             FROM (SELECT weight FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) LIMIT at_most_1) AS pending)
    ) AS is_so
), orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c3 AS ordered_on, c7 AS is_paid, sum(weight)::int8 AS weight_2
    FROM (
        SELECT c1, c2, c3, c7, weight FROM mvrefresh."log$2"
        WHERE (all_1 OR xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)) AND (SELECT is_so FROM foreseen)
        LIMIT at_most_1
    ) AS pending
    GROUP BY c1, c2, c3, c7
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.orders AS orders_2
    WHERE orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
    UNION ALL
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, orders_2.weight_2 AS weight_2
    FROM shop.orders AS orders, orders_changes AS orders_2
    WHERE orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
    UNION ALL
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, -(orders.weight_2 * orders_2.weight_2) AS weight_2
    FROM orders_changes AS orders, orders_changes AS orders_2
    WHERE orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, later, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, later
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id, later) order_id, later, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id, later) AS was_there
    FROM net_rows
    ORDER BY order_id, later, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.later, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id AND stored.later = target.later
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL)
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND NOT entry.is_there
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, later)
    SELECT entry.order_id, entry.later
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
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL)))::int8 AS rows_missing,
       false AS must_complete,
       -- nothing was done, as this is not all there is to do
       NOT (SELECT is_so FROM foreseen) AS unforeseen;

-- else
WITH orders_changes AS MATERIALIZED (
    -- net change of shop.orders since the watermark
    SELECT c1 AS order_id, c2 AS customer_id, c3 AS ordered_on, c7 AS is_paid, sum(weight)::int8 AS weight_2
    FROM mvrefresh."log$2"
    WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1)
    GROUP BY c1, c2, c3, c7
    HAVING sum(weight) <> 0
), row_changes AS (
    -- difference of the query's rows
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, orders.weight_2 AS weight_2
    FROM orders_changes AS orders, shop.orders AS orders_2
    WHERE EXISTS (SELECT FROM orders_changes) AND orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
    UNION ALL
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, orders_2.weight_2 AS weight_2
    FROM shop.orders AS orders, orders_changes AS orders_2
    WHERE EXISTS (SELECT FROM orders_changes) AND orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
    UNION ALL
    SELECT orders.order_id AS order_id, orders_2.order_id AS later, -(orders.weight_2 * orders_2.weight_2) AS weight_2
    FROM orders_changes AS orders, orders_changes AS orders_2
    WHERE EXISTS (SELECT FROM orders_changes) AND EXISTS (SELECT FROM orders_changes) AND orders.is_paid AND orders_2.is_paid AND (orders.customer_id = orders_2.customer_id) AND (orders.ordered_on < orders_2.ordered_on)
), net_rows AS (
    -- the same by distinct rows: how many more (or, negative, fewer) of each there are now
    SELECT order_id, later, sum(weight_2)::int8 AS weight_2
    FROM row_changes
    GROUP BY order_id, later
    HAVING sum(weight_2) <> 0
), target_rows AS (
    -- by keys: the row that there is now, if any
    SELECT DISTINCT ON (order_id, later) order_id, later, weight_2 > 0 AS is_there, bool_or(weight_2 < 0) OVER (PARTITION BY order_id, later) AS was_there
    FROM net_rows
    ORDER BY order_id, later, weight_2 DESC
), found_rows AS MATERIALIZED (
    -- those that are not stored like this
    SELECT target.order_id, target.later, target.is_there, target.was_there, stored.ctid AS row_address
    FROM target_rows AS target
    LEFT JOIN ONLY shop.mv AS stored ON stored.order_id = target.order_id AND stored.later = target.later
    WHERE target.is_there <> (stored.ctid IS NOT NULL) OR target.was_there <> (stored.ctid IS NOT NULL)
), deleted_rows AS (
    DELETE FROM ONLY shop.mv AS stored USING found_rows AS entry
    WHERE stored.ctid = entry.row_address AND NOT entry.is_there
    RETURNING 1
), inserted_rows AS (
    -- counting the deletions first lets them happen first: unique indexes see no passing duplicate
    INSERT INTO shop.mv (order_id, later)
    SELECT entry.order_id, entry.later
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
        + (SELECT count(*) FROM found_rows WHERE was_there <> (row_address IS NOT NULL)))::int8 AS rows_missing,
       -- a log that says: something happened that is not in it
       EXISTS (SELECT FROM mvrefresh."log$2" WHERE xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1) AND weight = 0) AS must_complete;

CREATE INDEX ON shop.mv (order_id, later);

-- orders is looked up by customer_id
