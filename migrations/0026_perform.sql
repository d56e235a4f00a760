-- One refresh, from lock to history, with those of the materialized views that it needs.

CREATE FUNCTION refresh_status(
    p_view materialized_view_settings, p_state materialized_view_state, p_if_seen boolean, p_seen_last_refresh timestamptz
) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN p_view.mv_id IS NULL THEN 'gone'
    -- later, not different: with nothing pending a daemon knows more rows right than the dictionary says
    WHEN p_if_seen AND (p_state.last_refresh > p_seen_last_refresh OR (p_seen_last_refresh IS NULL AND p_state.last_refresh IS NOT NULL)) THEN 'done_elsewhere'
    WHEN p_if_seen AND (NOT p_view.enabled OR p_view.mv_relation IS NULL OR p_state.suspended_at > p_view.changed_at) THEN 'off'
    ELSE 'refreshed'
END;
COMMENT ON FUNCTION refresh_status(materialized_view_settings, materialized_view_state, boolean, timestamptz) IS
    'Whether a materialized view is still to be refreshed: refreshed, or why not';

CREATE FUNCTION new_watermark(p_snapshot pg_snapshot, p_own_rows bigint) RETURNS pg_snapshot
LANGUAGE sql VOLATILE
-- What this transaction wrote to base tables before has been seen. What it goes on to write must stay pending, which is
-- simple only if it has written nothing so far; else see last_own_rows.
RETURN snapshot_with(p_snapshot, pg_current_xact_id(), p_own_rows > 0);
COMMENT ON FUNCTION new_watermark(pg_snapshot, bigint) IS 'The snapshot of a refresh as it is kept, with its own transaction in or out for certain';

CREATE FUNCTION record_refresh(
    p_state materialized_view_state, p_pending bigint, p_result refresh_result, p_own_rows bigint, p_outcome refresh_outcome
) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    costs materialized_view_state;
BEGIN
    SELECT * INTO costs FROM learn_costs(p_state, p_result.method, p_result.by_cost, p_pending, p_outcome.duration_ms);
    -- In REPEATABLE READ this is also the guard against a refresh that committed since: it fails to serialize.
    UPDATE materialized_view_state
    SET last_refresh = p_outcome.last_refresh,
        last_snapshot = new_watermark(p_result.snapshot, p_own_rows),
        last_xid = CASE WHEN p_own_rows > 0 THEN pg_current_xact_id() END,
        last_own_rows = nullif(p_own_rows, 0),
        last_method = p_result.method,
        last_reason = p_result.reason,
        last_duration_ms = p_outcome.duration_ms,
        last_rows_changed = p_outcome.rows_changed,
        avg_cost_ms = p_outcome.avg_cost_ms,
        fast_fixed_ms = costs.fast_fixed_ms,
        fast_ms_per_row = costs.fast_ms_per_row,
        complete_ms = costs.complete_ms,
        complete_is_fill = costs.complete_is_fill,
        dearer_method = costs.dearer_method,
        auto_method = costs.auto_method,
        auto_spent_ms = costs.auto_spent_ms,
        system_identifier = CASE WHEN p_result.method = 'fast' THEN system_identifier ELSE (SELECT system_identifier FROM pg_control_system()) END,
        incarnation = CASE WHEN p_result.method = 'fast' THEN incarnation ELSE own_incarnation() END,
        failures = 0, last_error = NULL, last_error_code = NULL, retry_at = NULL, suspended_at = NULL
    WHERE mv_id = p_state.mv_id;
END $$;
COMMENT ON FUNCTION record_refresh(materialized_view_state, bigint, refresh_result, bigint, refresh_outcome) IS
    'Notes a successful refresh in the state of its materialized view';

CREATE FUNCTION needed_views(p_mv_id integer) RETURNS SETOF integer
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- Only those that nobody else keeps fresh. One in a refresh group is the group's, one that is disabled is left alone.
    RETURN QUERY
    SELECT m.mv_id
    FROM materialized_view_sources s
    JOIN materialized_view_settings m ON m.mv_relation = s.source
    JOIN materialized_view_state t ON t.mv_id = m.mv_id
    WHERE s.mv_id = p_mv_id
      AND m.refresh_rate_in_sec IS NULL AND m.refresh_cron IS NULL AND m.refresh_group IS NULL AND m.enabled
      AND (t.suspended_at > m.changed_at) IS NOT TRUE
    ORDER BY m.mv_id;
END $$;
COMMENT ON FUNCTION needed_views(integer) IS 'The materialized views without a schedule of their own that a materialized view reads directly';

CREATE FUNCTION refresh_needed_view(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    begun timestamptz := clock_timestamp();
BEGIN
    -- whatever it needs itself comes before it; if it is being refreshed elsewhere, its changes come with the next refresh
    PERFORM perform_refresh(p_mv_id, 'needed');
EXCEPTION WHEN OTHERS THEN
    -- The trouble of the server, a lock, or a race ends the whole refresh. A view that can not be refreshed has that noted,
    -- and holds up none of those that read it.
    IF left(SQLSTATE, 2) IN ('25', '40', '53', '55', '57', '58') THEN
        RAISE;
    END IF;
    PERFORM record_failure(p_mv_id, 'needed', begun, SQLERRM, SQLSTATE, p_suspend => true);
END $$;
COMMENT ON FUNCTION refresh_needed_view(integer) IS 'Refreshes a materialized view because one that reads it is about to be refreshed';

CREATE FUNCTION perform_refresh(
    p_mv_id integer,
    p_trigger text,
    p_method text DEFAULT NULL,
    p_due_at timestamptz DEFAULT NULL,
    -- with p_if_seen: do nothing unless the last refresh is still the one that the caller knows
    p_if_seen boolean DEFAULT false,
    p_seen_last_refresh timestamptz DEFAULT NULL,
    p_wait boolean DEFAULT false
) RETURNS refresh_outcome
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    state_row materialized_view_state;
    choice refresh_choice;
    result refresh_result;
    outcome refresh_outcome;
    begun timestamptz;
    executed_from timestamptz;
    execute_ms double precision;
    needed integer;
    own_xid xid8;
BEGIN
    outcome.mv_id := p_mv_id;
    IF NOT try_refresh_lock(p_mv_id, p_wait) THEN
        outcome.status := 'busy';
        outcome.database_now := clock_timestamp();
        RETURN outcome;
    END IF;
    SELECT * INTO view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT * INTO state_row FROM materialized_view_state WHERE mv_id = p_mv_id;
    outcome.status := refresh_status(view_row, state_row, p_if_seen, p_seen_last_refresh);
    IF outcome.status = 'refreshed' THEN
        FOR needed IN SELECT * FROM needed_views(p_mv_id) LOOP
            PERFORM refresh_needed_view(needed);
        END LOOP;
        -- waiting for the lock, and for what it reads, is no part of the refresh
        begun := clock_timestamp();
        -- none as long as this transaction has written nothing, and so has no rows of its own in the logs
        own_xid := pg_current_xact_id_if_assigned();
        choice := choose_refresh(view_row, state_row, p_method, false);
        executed_from := clock_timestamp();
        -- no later than the statement's snapshot: in REPEATABLE READ that is the transaction's
        outcome.last_refresh := CASE WHEN current_setting('transaction_isolation') = 'read committed' THEN executed_from ELSE now() END;
        IF choice.method = 'none' THEN
            result.method := 'none';
            result.reason := choice.reason;
            result.pending_rows := choice.pending_rows;
        ELSE
            result := run_refresh(view_row, state_row, choice);
        END IF;
        outcome.reason := result.reason;
        outcome.pending_rows := result.pending_rows;
        outcome.needs_upkeep := coalesce(choice.needs_upkeep, false);
        IF result.method = 'none' THEN
            outcome.status := 'unchanged';
            -- By schedule nothing is written, so that a quiet view costs nothing. Whoever asks is to see it done.
            IF p_trigger IN ('sql', 'all', 'request', 'create') OR state_row.failures > 0 THEN
                -- if changed just now, it is right still as of the last refresh
                state_row.last_refresh := coalesce(
                    note_unchanged(view_row, state_row, p_method, coalesce(own_log_rows(p_mv_id, own_xid), 0)), state_row.last_refresh);
            END IF;
        END IF;
    END IF;
    IF outcome.status <> 'refreshed' THEN
        outcome.last_refresh := state_row.last_refresh;
        outcome.avg_cost_ms := state_row.avg_cost_ms;
        outcome.database_now := clock_timestamp();
        RETURN outcome;
    END IF;

    execute_ms := elapsed_ms(executed_from);
    outcome.method := result.method;
    outcome.form := result.form;
    outcome.duration_ms := elapsed_ms(begun);
    outcome.rows_changed := result.rows_inserted + coalesce(result.rows_updated, 0) + coalesce(result.rows_deleted, 0);
    outcome.avg_cost_ms := coalesce((state_row.avg_cost_ms + outcome.duration_ms) / 2, outcome.duration_ms);
    IF NOT coalesce(choice.is_checked, is_as_checked(state_row)) THEN
        PERFORM renew_checks(state_row);
    END IF;
    PERFORM record_refresh(state_row, result.pending_rows, result, coalesce(own_log_rows(p_mv_id, own_xid), 0), outcome);
    INSERT INTO refresh_history (mv_id, mv_name, refresh_group, outcome, method, form, reason, trigger, due_at, started_at,
                                 prepare_ms, execute_ms, duration_ms, rows_inserted, rows_updated, rows_deleted, pending_rows)
    VALUES (p_mv_id, shown_name(view_row), view_row.refresh_group, 'succeeded', result.method, result.form, result.reason, p_trigger, p_due_at,
            begun, extract(epoch FROM executed_from - begun) * 1000, execute_ms, outcome.duration_ms,
            result.rows_inserted, result.rows_updated, result.rows_deleted, result.pending_rows);
    outcome.database_now := clock_timestamp();
    RETURN outcome;
END $$;
COMMENT ON FUNCTION perform_refresh(integer, text, text, timestamptz, boolean, timestamptz, boolean) IS
    'Refreshes one materialized view now, with the rights of its owner';
