-- What the daemon reads: one row per materialized view with all that its schedule depends on.

CREATE VIEW refresh_schedule AS
SELECT s.mv_id,
       format('%I.%I', coalesce(n.nspname, s.mv_schema), coalesce(c.relname, s.mv_name)) AS mv_name,
       s.refresh_rate_in_sec,
       s.refresh_cron,
       s.refresh_time_zone,
       s.refresh_method,
       s.refresh_group,
       s.enabled AND s.mv_relation IS NOT NULL AS enabled,
       s.statement_timeout_in_sec,
       s.lock_timeout_in_sec,
       s.requested_at,
       s.requested_method,
       s.created_at,
       s.changed_xid,
       t.last_refresh,
       t.avg_cost_ms,
       t.failures,
       -- changed settings, a request among them, are tried at once
       CASE WHEN t.last_error_at > s.changed_at THEN t.retry_at END AS retry_at,
       coalesce(t.suspended_at > s.changed_at, false) AS suspended,
       ARRAY(SELECT m.mv_id FROM materialized_view_sources r JOIN materialized_view_settings m ON m.mv_relation = r.source
             WHERE r.mv_id = s.mv_id ORDER BY m.mv_id) AS depends_on
FROM materialized_view_settings s
JOIN materialized_view_state t USING (mv_id)
LEFT JOIN pg_class c ON c.oid = s.mv_relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace;
COMMENT ON VIEW refresh_schedule IS 'What the daemon schedules by';

CREATE FUNCTION changed_schedules(p_since pg_snapshot) RETURNS SETOF refresh_schedule
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- exact by MVCC: also a change whose transaction began before the last look and committed after it is found
    SELECT * FROM refresh_schedule
    WHERE changed_xid >= pg_snapshot_xmin(p_since) AND NOT pg_visible_in_snapshot(changed_xid, p_since)
      -- a dump restored into a younger cluster brings transaction ids of the future: these are no changes
      AND changed_xid < pg_snapshot_xmax(pg_current_snapshot())
$$;
COMMENT ON FUNCTION changed_schedules(pg_snapshot) IS 'Schedules whose settings have changed since a snapshot';

CREATE FUNCTION prune_history(p_keep interval, p_limit integer DEFAULT 10000) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH pruned AS (
        DELETE FROM refresh_history
        WHERE refresh_id IN (
            SELECT refresh_id FROM refresh_history WHERE started_at < clock_timestamp() - p_keep
            ORDER BY started_at LIMIT p_limit)
        RETURNING 1
    )
    SELECT count(*) FROM pruned
$$;
COMMENT ON FUNCTION prune_history(interval, integer) IS 'Deletes history older than an interval, a bounded number of rows at a time';
