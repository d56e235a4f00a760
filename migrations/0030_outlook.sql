-- What explain and status show of coming refreshes. Nobody but the module reads the logs, so these run with its rights;
-- they give away how many changes wait, which the history tells to the same roles afterwards.

CREATE FUNCTION pending_changes_of(p_mv_id integer) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (
        SELECT (pending_changes(p_mv_id, t.last_snapshot)).pending_rows
        FROM materialized_view_state t JOIN fast_programs f USING (mv_id)
        WHERE t.mv_id = p_mv_id AND f.body IS NOT NULL
          -- before its program was installed nothing was logged for it
          AND pg_visible_in_snapshot(f.installed_xid, t.last_snapshot));
EXCEPTION WHEN undefined_table OR undefined_column THEN
    RETURN NULL; -- a log damaged by hand
END $$;
COMMENT ON FUNCTION pending_changes_of(integer) IS 'How many logged changes wait for a materialized view; NULL where that can not be told';

CREATE TYPE refresh_outlook AS (
    -- as in refresh_choice
    method text,
    form text,
    reason text,
    pending_rows bigint,
    needs_upkeep boolean,
    -- what it is expected to cost now, as far as refreshes have been measured
    fast_ms double precision,
    complete_ms double precision
);

CREATE FUNCTION refresh_outlook(p_mv_id integer) RETURNS refresh_outlook
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    state_row materialized_view_state;
    choice refresh_choice;
    outlook refresh_outlook;
BEGIN
    SELECT * INTO view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT * INTO state_row FROM materialized_view_state WHERE mv_id = p_mv_id;
    choice := choose_refresh(view_row, state_row, NULL);
    outlook.method := choice.method;
    outlook.form := choice.form;
    outlook.reason := choice.reason;
    outlook.pending_rows := coalesce(choice.pending_rows, pending_changes_of(p_mv_id));
    outlook.needs_upkeep := coalesce(choice.needs_upkeep, false);
    outlook.fast_ms := expected_fast_ms(state_row, outlook.pending_rows);
    outlook.complete_ms := expected_complete_ms(state_row);
    RETURN outlook;
END $$;
COMMENT ON FUNCTION refresh_outlook(integer) IS 'What the next refresh of a materialized view would be now, why, and what it would cost';

CREATE FUNCTION logs_outlook(p_mv_id integer) RETURNS TABLE (log_name text, base_table text, pending_rows bigint, problem text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    log record;
BEGIN
    FOR log IN
        SELECT l.log_id, log_table(l.log_id) AS full_name, g.base_table AS base, g.base_name, t.last_snapshot,
               CASE WHEN g.log_id IS NULL THEN 'it has been dropped' ELSE log_problem(l.log_id) END AS damage,
               pg_visible_in_snapshot(f.installed_xid, t.last_snapshot) AS is_read
        FROM fast_program_logs l
        JOIN fast_programs f USING (mv_id)
        JOIN materialized_view_state t USING (mv_id)
        LEFT JOIN materialized_view_logs g USING (log_id)
        WHERE l.mv_id = p_mv_id ORDER BY l.log_id
    LOOP
        log_name := log.full_name;
        base_table := coalesce(qualified_name(log.base), log.base_name, '(dropped)');
        pending_rows := NULL;
        problem := log.damage;
        IF problem IS NULL AND log.is_read THEN
            IF NOT log_reaches(log.log_id, log.last_snapshot) THEN
                problem := 'it does not reach back to the last refresh';
            END IF;
            pending_rows := (SELECT p.pending_rows FROM pending_in_log(log.log_id, log.last_snapshot) p);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION logs_outlook(integer) IS 'The logs that the fast refresh of a materialized view reads, what waits in them, and what is wrong with them';
