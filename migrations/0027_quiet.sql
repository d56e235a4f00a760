-- Materialized views for which nothing is pending: what a tick leaves alone, and what upkeep writes down now and then.

CREATE FUNCTION newest_log_xid(p_log_id integer) RETURNS xid8
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    newest xid8;
BEGIN
    EXECUTE format('SELECT xid FROM %s ORDER BY xid DESC LIMIT 1', log_table(p_log_id)) INTO newest;
    RETURN newest;
EXCEPTION WHEN undefined_table THEN
    -- dropped by hand: whoever refreshes will find out
    RETURN '18446744073709551615';
END $$;
COMMENT ON FUNCTION newest_log_xid(integer) IS 'The highest transaction id in a log';

CREATE FUNCTION quiet_views(p_ids integer[]) RETURNS SETOF integer
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET plan_cache_mode TO force_generic_plan SET jit TO off AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every look.
    -- A first look, for many views at once: it takes for granted that logs and programs are in order, which upkeep and
    -- every refresh make sure of. Nothing is written down on the strength of it.
    RETURN QUERY
    WITH candidate AS (
        SELECT s.mv_id, t.last_snapshot
        FROM materialized_view_settings s
        JOIN materialized_view_state t USING (mv_id)
        JOIN fast_programs f USING (mv_id)
        WHERE s.mv_id = ANY (p_ids) AND s.refresh_method <> 'complete' AND f.body IS NOT NULL AND f.compiled_for IS NOT NULL
          AND t.last_snapshot IS NOT NULL AND (t.quarantined_at > coalesce(s.resumed_at, '-infinity')) IS NOT TRUE AND t.failures = 0 AND t.last_xid IS NULL
          AND pg_visible_in_snapshot(f.installed_xid, t.last_snapshot)
          -- a watermark of elsewhere would hide what is pending
          AND t.incarnation = own_incarnation() AND t.system_identifier = (SELECT system_identifier FROM pg_control_system())
          AND (s.requested_at <= t.last_refresh) IS NOT FALSE
          -- those it reads are looked at when it is refreshed, and not before
          AND NOT EXISTS (SELECT FROM needed_views(s.mv_id))
    ), log AS MATERIALIZED (
        SELECT l.log_id, newest_log_xid(l.log_id) AS newest
        FROM (SELECT DISTINCT log_id FROM fast_program_logs JOIN candidate USING (mv_id)) l
    )
    SELECT c.mv_id
    FROM candidate c
    WHERE NOT EXISTS (
        SELECT FROM fast_program_logs p JOIN log USING (log_id)
        WHERE p.mv_id = c.mv_id AND log.newest >= pg_snapshot_xmin(c.last_snapshot)
          AND (SELECT l.pending_rows FROM pending_in_log(p.log_id, c.last_snapshot, 1) l) > 0);
END $$;
COMMENT ON FUNCTION quiet_views(integer[]) IS 'Those of these materialized views for which nothing is pending';

CREATE FUNCTION note_unchanged(
    p_view materialized_view_settings, p_state materialized_view_state, p_method text, p_own_rows bigint
) RETURNS timestamptz
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    -- no later than the statement's snapshot, see perform_refresh
    instant timestamptz := CASE WHEN current_setting('transaction_isolation') = 'read committed' THEN clock_timestamp() ELSE now() END;
    checked record;
BEGIN
    -- one statement, one snapshot: what is found unchanged is unchanged as of the snapshot noted
    SELECT choose_refresh(p_view, p_state, p_method) AS choice, pg_current_snapshot() AS snapshot INTO checked;
    IF (checked.choice).method <> 'none' THEN
        RETURN NULL;
    END IF;
    IF NOT (checked.choice).is_checked THEN
        PERFORM renew_checks(p_state);
    END IF;
    UPDATE materialized_view_state
    SET last_refresh = instant, last_snapshot = new_watermark(checked.snapshot, p_own_rows),
        last_xid = CASE WHEN p_own_rows > 0 THEN pg_current_xact_id() END, last_own_rows = nullif(p_own_rows, 0),
        last_method = 'none', last_reason = 'nothing pending',
        failures = 0, last_error = NULL, last_error_code = NULL, retry_at = NULL, suspended_at = NULL
    WHERE mv_id = p_view.mv_id;
    RETURN instant;
END $$;
COMMENT ON FUNCTION note_unchanged(materialized_view_settings, materialized_view_state, text, bigint) IS
    'Notes that a materialized view, though there was nothing to refresh, equals its query now; as of when, or NULL if it does not';

CREATE FUNCTION confirm_quiet_view(p_mv_id integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    state_row materialized_view_state;
    noted timestamptz;
BEGIN
    IF NOT try_refresh_lock(p_mv_id, false) THEN
        RETURN false;
    END IF;
    SELECT * INTO view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT * INTO state_row FROM materialized_view_state WHERE mv_id = p_mv_id;
    IF view_row.enabled AND state_row.failures = 0 THEN
        noted := note_unchanged(view_row, state_row, NULL, 0);
        IF noted IS NULL THEN
            PERFORM renew_checks(state_row);
        END IF;
    END IF;
    RETURN noted IS NOT NULL;
END $$;
COMMENT ON FUNCTION confirm_quiet_view(integer) IS 'Notes that a materialized view, though not refreshed, equals its query now; whether it does';

CREATE FUNCTION confirm_quiet_views(p_older_than interval, p_limit integer DEFAULT 100) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    candidates integer[];
    candidate integer;
    confirmed integer := 0;
BEGIN
    SELECT array_agg(mv_id) INTO candidates
    FROM (SELECT s.mv_id
          FROM materialized_view_settings s JOIN materialized_view_state t USING (mv_id) JOIN fast_programs f USING (mv_id)
          WHERE f.body IS NOT NULL AND s.enabled AND s.refresh_method <> 'complete' AND (s.refresh_rate_in_sec IS NOT NULL OR s.refresh_cron IS NOT NULL)
            -- only views whose turn for a refresh has come since: nobody asked for more
            AND t.last_refresh < clock_timestamp() - greatest(p_older_than, make_interval(secs => coalesce(s.refresh_rate_in_sec, 0)))
          ORDER BY t.last_refresh LIMIT p_limit) due;
    FOR candidate IN SELECT q FROM quiet_views(candidates) q LOOP
        IF confirm_quiet_view(candidate) THEN
            confirmed := confirmed + 1;
        END IF;
    END LOOP;
    RETURN confirmed;
END $$;
COMMENT ON FUNCTION confirm_quiet_views(interval, integer) IS
    'Notes which materialized views equal their queries though they have not been refreshed for so long; how many';

CREATE FUNCTION prune_logs(p_claim interval, p_limit integer DEFAULT 10000) RETURNS TABLE (log_id integer, base_name text, pruned bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    log record;
BEGIN
    -- Rows are kept for the views that read them, but not for ever: one that has not been refreshed for so long (suspended,
    -- failing, disabled) loses its claim and is refreshed completely when its time comes.
    FOR log IN
        SELECT l.log_id, l.base_name,
               coalesce((SELECT min(pg_snapshot_xmin(t.last_snapshot))
                         FROM fast_program_logs p JOIN materialized_view_state t USING (mv_id)
                         WHERE p.log_id = l.log_id AND t.last_snapshot IS NOT NULL AND t.last_refresh > clock_timestamp() - p_claim
                           -- in a younger cluster another one's would be in the future
                           AND t.incarnation = l.incarnation),
                        -- nobody: what has been written by now is of no use to anybody later
                        pg_snapshot_xmin(pg_current_snapshot())) AS below
        FROM materialized_view_logs l WHERE l.incarnation = own_incarnation() ORDER BY l.log_id
    LOOP
        log_id := log.log_id;
        base_name := log.base_name;
        BEGIN
            pruned := prune_log(log.log_id, log.below, p_limit);
            IF pruned > 0 THEN
                RETURN NEXT;
            END IF;
        EXCEPTION WHEN undefined_table OR undefined_column THEN
            NULL; -- damaged by hand: repaired apart
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION prune_logs(interval, integer) IS
    'Deletes from every log, a bounded number of rows at a time, what no materialized view refreshed within the interval needs';

CREATE FUNCTION drop_unread_logs(p_lock_timeout_ms integer DEFAULT 2000) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    log record;
BEGIN
    FOR log IN
        SELECT l.log_id, l.base_name FROM materialized_view_logs l
        WHERE NOT l.is_kept
          -- another daemon may be making it for a program that is not installed yet
          AND l.created_at < clock_timestamp() - interval '1 minute'
          AND NOT EXISTS (SELECT FROM fast_program_logs p WHERE p.log_id = l.log_id)
    LOOP
        BEGIN
            PERFORM drop_log(log.log_id, p_lock_timeout_ms);
            RETURN NEXT log.base_name;
        EXCEPTION WHEN lock_not_available THEN
            NULL; -- in use: another time
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION drop_unread_logs(integer) IS 'Drops the logs that were made for materialized views and that none reads any more';
