-- The functions that users call, see 0013.

CREATE FUNCTION create_materialized_view(
    mv_name text,
    query text DEFAULT NULL,
    refresh_rate_in_sec integer DEFAULT NULL,
    view_name text DEFAULT NULL,
    refresh_cron text DEFAULT NULL,
    refresh_time_zone text DEFAULT NULL,
    refresh_method text DEFAULT 'auto',
    complete_form text DEFAULT 'in_place',
    refresh_group text DEFAULT NULL,
    with_data boolean DEFAULT true
) RETURNS integer LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT create_in_path(pg_catalog.current_setting('search_path'), mv_name, query, view_name, refresh_rate_in_sec, refresh_cron,
                          refresh_time_zone, refresh_method, complete_form, refresh_group, with_data);
END;
COMMENT ON FUNCTION create_materialized_view(text, text, integer, text, text, text, text, text, text, boolean) IS
    'Creates a materialized view from a query, or from an existing view, fills it and schedules it; returns its mv_id';

CREATE FUNCTION create_materialized_view_as(view_name text, refresh_rate_in_sec integer DEFAULT NULL)
RETURNS integer LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT create_as_in_path(pg_catalog.current_setting('search_path'), view_name, refresh_rate_in_sec);
END;
COMMENT ON FUNCTION create_materialized_view_as(text, integer) IS
    'Puts a materialized view in the place of a view: the view is renamed to name_mt_base, the materialized view takes its name';

CREATE FUNCTION adopt_materialized_view(
    mv_name text, refresh_rate_in_sec integer DEFAULT NULL, refresh_cron text DEFAULT NULL, refresh_time_zone text DEFAULT NULL
) RETURNS integer LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT adopt_in_path(pg_catalog.current_setting('search_path'), mv_name, refresh_rate_in_sec, refresh_cron, refresh_time_zone);
END;
COMMENT ON FUNCTION adopt_materialized_view(text, integer, text, text) IS
    'Schedules an existing native MATERIALIZED VIEW; it is refreshed by REFRESH MATERIALIZED VIEW, CONCURRENTLY where it has a unique index';

CREATE FUNCTION drop_materialized_view(mv_name text) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT drop_by_id(require_materialized_view(pg_catalog.current_setting('search_path'), mv_name));
END;
COMMENT ON FUNCTION drop_materialized_view(text) IS
    'Drops a materialized view and its dictionary row; an adopted native one only leaves the schedule';

CREATE FUNCTION refresh_materialized_view(mv_name text, refresh_method text DEFAULT NULL)
RETURNS SETOF refresh_outcome LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT * FROM refresh_by_id(
        require_materialized_view(pg_catalog.current_setting('search_path'), mv_name), refresh_method, 'sql');
END;
COMMENT ON FUNCTION refresh_materialized_view(text, text) IS
    'Refreshes a materialized view now, and its group with it; the method is the view''s own unless given';

CREATE FUNCTION refresh_all_materialized_views(force boolean DEFAULT false)
RETURNS TABLE (mv_name text, outcome text, method text, form text, rows_changed bigint, duration_ms double precision, error text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT * FROM refresh_all(force);
END;
COMMENT ON FUNCTION refresh_all_materialized_views(boolean) IS
    'Refreshes the materialized views that are past their refresh rate, or all of them, in dependency order; one that fails does not stop the others';

CREATE FUNCTION request_refresh(mv_name text, refresh_method text DEFAULT NULL) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT change_by_id(
        require_materialized_view(pg_catalog.current_setting('search_path'), mv_name),
        pg_catalog.jsonb_build_object('requested_at', pg_catalog.clock_timestamp(), 'requested_method', refresh_method));
END;
COMMENT ON FUNCTION request_refresh(text, text) IS 'Asks the daemon to refresh a materialized view as soon as it can, and returns at once';

CREATE FUNCTION resume_materialized_view(mv_name text) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT change_by_id(
        require_materialized_view(pg_catalog.current_setting('search_path'), mv_name),
        pg_catalog.jsonb_build_object('enabled', true, 'resumed_at', pg_catalog.clock_timestamp()));
END;
COMMENT ON FUNCTION resume_materialized_view(text) IS 'Ends the suspension or the quarantine of a materialized view, or enables it again';

CREATE FUNCTION suspend_materialized_view(mv_name text) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT change_by_id(
        require_materialized_view(pg_catalog.current_setting('search_path'), mv_name),
        pg_catalog.jsonb_build_object('enabled', false));
END;
COMMENT ON FUNCTION suspend_materialized_view(text) IS 'Disables the refreshes of a materialized view until it is resumed';

CREATE FUNCTION update_materialized_view_refresh_rate(mv_name text, refresh_rate_in_sec integer) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT change_by_id(
        require_materialized_view(pg_catalog.current_setting('search_path'), mv_name),
        pg_catalog.jsonb_build_object('refresh_rate_in_sec', refresh_rate_in_sec));
END;
COMMENT ON FUNCTION update_materialized_view_refresh_rate(text, integer) IS
    'Sets the refresh rate of a materialized view, NULL for none';

CREATE FUNCTION is_materialized_view_refreshed(mv_name text) RETURNS boolean LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT is_fresh_by_id(require_materialized_view(pg_catalog.current_setting('search_path'), mv_name));
END;
COMMENT ON FUNCTION is_materialized_view_refreshed(text) IS
    'Whether a materialized view was refreshed within its refresh rate; NULL if it has no rate';

CREATE FUNCTION perform_permitted_verify(p_mv_id integer, p_max_samples integer)
RETURNS TABLE (rows_compared bigint, rows_missing bigint, rows_unexpected bigint, missing_samples jsonb, unexpected_samples jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM consume_permit(p_mv_id);
    PERFORM ensure_comparable(p_mv_id);
    RETURN QUERY
    SELECT v.compared, v.missing, v.unexpected, v.samples_missing, v.samples_unexpected
    FROM run_refresh_function('verify', p_mv_id, quote_nullable(p_max_samples) || '::pg_catalog.int4')
         AS v (taken_at pg_snapshot, compared bigint, missing bigint, unexpected bigint, samples_missing jsonb, samples_unexpected jsonb);
END $$;
COMMENT ON FUNCTION perform_permitted_verify(integer, integer) IS 'Compares a materialized view with its query for whoever holds a permit';

CREATE FUNCTION verify_by_id(p_mv_id integer, p_max_samples integer)
RETURNS TABLE (rows_compared bigint, rows_missing bigint, rows_unexpected bigint, missing_samples jsonb, unexpected_samples jsonb)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM take_permit(p_mv_id);
    RETURN QUERY SELECT * FROM perform_permitted_verify(p_mv_id, p_max_samples);
END $$;
COMMENT ON FUNCTION verify_by_id(integer, integer) IS 'Compares a materialized view with its query in the name of the caller';

CREATE FUNCTION verify_materialized_view(mv_name text, max_samples integer DEFAULT 5)
RETURNS TABLE (rows_compared bigint, rows_missing bigint, rows_unexpected bigint, missing_samples jsonb, unexpected_samples jsonb)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT * FROM verify_by_id(require_materialized_view(pg_catalog.current_setting('search_path'), mv_name), max_samples);
END;
COMMENT ON FUNCTION verify_materialized_view(text, integer) IS
    'Compares a materialized view with its query row by row, duplicates counted, in one snapshot';
