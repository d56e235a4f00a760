-- The choice of the refresh method, and the fast refresh itself.

CREATE FUNCTION snapshot_with(p_snapshot pg_snapshot, p_xid xid8, p_visible boolean) RETURNS pg_snapshot
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path FROM CURRENT AS $$
DECLARE
    xmin bigint := pg_snapshot_xmin(p_snapshot)::text::bigint;
    xmax bigint := pg_snapshot_xmax(p_snapshot)::text::bigint;
    xid bigint := p_xid::text::bigint;
    running text;
BEGIN
    -- A snapshot says nothing certain of the transaction that took it: its own id is never among the running ones, and so
    -- seems committed as soon as any later transaction has ended.
    IF pg_visible_in_snapshot(p_xid, p_snapshot) = p_visible THEN
        RETURN p_snapshot;
    END IF;
    SELECT string_agg(x::text, ',' ORDER BY x) INTO running
    FROM (SELECT pg_snapshot_xip(p_snapshot)::text::bigint AS x
          UNION SELECT xid WHERE NOT p_visible
          UNION SELECT generate_series(xmax, xid - 1) WHERE p_visible) AS others;
    RETURN format('%s:%s:%s', least(xmin, xid), greatest(xmax, xid + 1), coalesce(running, ''))::pg_snapshot;
END $$;
COMMENT ON FUNCTION snapshot_with(pg_snapshot, xid8, boolean) IS 'A snapshot that sees, or does not see, one transaction more, the one that took it';

CREATE FUNCTION own_log_rows(p_mv_id integer, p_xid xid8) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SET search_path FROM CURRENT AS $$
DECLARE
    log_id integer;
    found bigint;
    total bigint := 0;
BEGIN
    FOR log_id IN SELECT l.log_id FROM fast_program_logs l WHERE l.mv_id = p_mv_id LOOP
        EXECUTE format('SELECT count(*) FROM %s WHERE xid = $1', log_table(log_id)) INTO found USING p_xid;
        total := total + found;
    END LOOP;
    RETURN total;
END $$;
COMMENT ON FUNCTION own_log_rows(integer, xid8) IS 'How many rows the logs of a materialized view have of one transaction';

CREATE FUNCTION program_problem(p_mv_id integer, OUT problem text, OUT needs_upkeep boolean)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    program fast_programs;
BEGIN
    SELECT * INTO program FROM fast_programs WHERE mv_id = p_mv_id;
    needs_upkeep := program.mv_id IS NULL OR program.compiled_for IS NULL OR program.compiled_for IS DISTINCT FROM program_fingerprint(p_mv_id);
    problem := CASE
        WHEN program.mv_id IS NULL THEN 'not compiled yet'
        WHEN needs_upkeep THEN 'its definition, a base table, an index or a privilege has changed since it was compiled'
        WHEN program.refused_reason IS NOT NULL THEN concat_ws(': ', program.refused_clause, program.refused_reason)
    END;
END $$;
COMMENT ON FUNCTION program_problem(integer) IS
    'Why there is no program for the fast refresh of a materialized view, in words, or NULL; and whether it is to be compiled (again)';

CREATE FUNCTION watermark_problem(p_mv_id integer, p_state materialized_view_state) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN CASE
        WHEN p_state.last_snapshot IS NULL THEN 'the snapshot of its last refresh is not known'
        WHEN p_state.quarantined_at > (SELECT coalesce(s.resumed_at, '-infinity') FROM materialized_view_settings s WHERE s.mv_id = p_mv_id) THEN 'quarantined: its rows were found to differ from the query''s'
        WHEN p_state.system_identifier IS DISTINCT FROM (SELECT system_identifier FROM pg_control_system()) THEN
            'restored into another cluster'
        WHEN p_state.incarnation IS DISTINCT FROM own_incarnation() THEN 'restored from a dump'
        -- within one transaction its own id may be higher than what has ended
        WHEN pg_snapshot_xmax(p_state.last_snapshot) > pg_snapshot_xmax(pg_current_snapshot())
             AND p_state.last_xid IS DISTINCT FROM pg_current_xact_id_if_assigned() THEN 'transaction ids have been set back'
        WHEN NOT EXISTS (SELECT FROM fast_programs WHERE mv_id = p_mv_id AND pg_visible_in_snapshot(installed_xid, p_state.last_snapshot)) THEN
            'the first refresh since it was compiled'
        WHEN own_log_rows(p_mv_id, p_state.last_xid) <> p_state.last_own_rows THEN
            'the transaction of the last refresh went on to change base tables'
    END;
END $$;
COMMENT ON FUNCTION watermark_problem(integer, materialized_view_state) IS
    'Why changes can not be told from the last refresh of a materialized view on, in words, or NULL';

CREATE FUNCTION logs_problem(p_mv_id integer, p_snapshot pg_snapshot, OUT problem text, OUT needs_upkeep boolean)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- Columns that were added to a log later are others' columns: those of the program were logged before it was installed,
    -- which the watermark sees (watermark_problem). So a new materialized view costs others no complete refresh.
    SELECT format('log of %s: %s', coalesce(qualified_name(g.base_table), g.base_name, '(dropped)'), coalesce(damage.problem, 'it does not reach back to the last refresh')),
           damage.problem IS NOT NULL
    INTO problem, needs_upkeep
    FROM fast_program_logs l
    LEFT JOIN materialized_view_logs g USING (log_id)
    CROSS JOIN LATERAL (SELECT log_problem(l.log_id)) AS damage (problem)
    WHERE l.mv_id = p_mv_id AND (damage.problem IS NOT NULL OR NOT log_reaches(l.log_id, p_snapshot))
    ORDER BY l.log_id LIMIT 1;
END $$;
COMMENT ON FUNCTION logs_problem(integer, pg_snapshot) IS
    'Why a log that a materialized view reads does not hold all changes since a snapshot, in words, or NULL; and whether it needs repair';

CREATE FUNCTION fast_problem(p_mv_id integer, p_state materialized_view_state, OUT problem text, OUT needs_upkeep boolean)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    SELECT * INTO problem, needs_upkeep FROM program_problem(p_mv_id);
    IF problem IS NULL THEN
        problem := watermark_problem(p_mv_id, p_state);
    END IF;
    IF problem IS NULL THEN
        SELECT * INTO problem, needs_upkeep FROM logs_problem(p_mv_id, p_state.last_snapshot);
    END IF;
    needs_upkeep := coalesce(needs_upkeep, false);
END $$;
COMMENT ON FUNCTION fast_problem(integer, materialized_view_state) IS
    'Why a materialized view can not be refreshed fast now, in words, or NULL; and whether upkeep can do something about it';

CREATE FUNCTION pending_changes(p_mv_id integer, p_snapshot pg_snapshot, OUT pending_rows bigint, OUT marked_log integer)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    SELECT coalesce(sum(p.pending_rows), 0), min(l.log_id) FILTER (WHERE p.is_marked)
    INTO pending_rows, marked_log
    FROM fast_program_logs l CROSS JOIN LATERAL pending_in_log(l.log_id, p_snapshot) p
    WHERE l.mv_id = p_mv_id;
END $$;
COMMENT ON FUNCTION pending_changes(integer, pg_snapshot) IS
    'How many log rows wait for a materialized view, and a log among them that says that more has happened than it holds';

CREATE FUNCTION priced_rows(p_pending bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
-- what any fast refresh costs, expressed in rows, and the pending ones
RETURN 50 + p_pending;
COMMENT ON FUNCTION priced_rows(bigint) IS 'By how many rows the cost of a fast refresh is reckoned';

CREATE FUNCTION cheaper_method(p_pending bigint, p_state materialized_view_state, p_base_rows double precision, OUT method text, OUT reason text)
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    fast_ms double precision := p_state.fast_ms_per_row * priced_rows(p_pending);
    complete_ms double precision := p_state.complete_ms;
    -- What is known of the method that was not used may be wrong, or no longer right. It is tried again, so much the sooner
    -- the smaller the loss by that would be: it may be a twentieth of what the other has cost since.
    credit_ms double precision := coalesce(p_state.auto_spent_ms, 0) / 20;
    pending text := format('%s pending %s', p_pending, CASE WHEN p_pending = 1 THEN 'row' ELSE 'rows' END);
BEGIN
    IF complete_ms IS NULL THEN
        method := 'fast';
        reason := pending || '; a complete refresh has not been measured';
    ELSIF fast_ms IS NULL THEN
        -- nothing measured: by size
        method := CASE WHEN p_pending <= greatest(1000, p_base_rows / 10) THEN 'fast' ELSE 'complete' END;
        reason := format('%s, of about %s in the base tables; a fast refresh has not been measured', pending, round(p_base_rows));
    ELSE
        method := CASE WHEN fast_ms - CASE WHEN p_state.auto_method = 'complete' THEN credit_ms ELSE 0 END
                            <= complete_ms - CASE WHEN p_state.auto_method = 'fast' THEN credit_ms ELSE 0 END
                       THEN 'fast' ELSE 'complete' END;
        reason := format('%s: %s ms expected fast, %s ms completely%s', pending, round(fast_ms::numeric, 1), round(complete_ms::numeric, 1),
                         CASE WHEN (method = 'fast') <> (fast_ms <= complete_ms) THEN ', which is to be seen again' ELSE '' END);
    END IF;
END $$;
COMMENT ON FUNCTION cheaper_method(bigint, materialized_view_state, double precision) IS
    'The refresh method that will cost less, by what refreshes have cost, and why';

CREATE FUNCTION learned_cost(p_known double precision, p_measured double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE
-- Outliers, as on a busy server, are high ones: a lower measurement is believed sooner, a single higher one moves the cost
-- by no more than half.
RETURN CASE
    WHEN p_known IS NULL THEN p_measured
    WHEN p_measured < p_known THEN p_known + 0.7 * (p_measured - p_known)
    ELSE p_known + 0.3 * (least(p_measured, p_known * 2.7) - p_known)
END;
COMMENT ON FUNCTION learned_cost(double precision, double precision) IS 'What a refresh costs, after one more measurement';

CREATE FUNCTION learn_costs(INOUT p_state materialized_view_state, p_method text, p_by_cost boolean, p_pending bigint, p_duration_ms double precision)
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
BEGIN
    IF p_method = 'fast' THEN
        -- the first one reads what no other has read lately: taken for no more than twice a complete refresh
        p_state.fast_ms_per_row := learned_cost(p_state.fast_ms_per_row,
            CASE WHEN p_state.fast_ms_per_row IS NULL THEN least(p_duration_ms, 2 * p_state.complete_ms) ELSE p_duration_ms END
            / priced_rows(p_pending));
    ELSE
        p_state.complete_ms := learned_cost(p_state.complete_ms, p_duration_ms);
    END IF;
    p_state.auto_spent_ms := CASE WHEN p_by_cost AND p_method = p_state.auto_method THEN p_state.auto_spent_ms + p_duration_ms ELSE 0 END;
    p_state.auto_method := CASE WHEN p_by_cost THEN p_method END;
END $$;
COMMENT ON FUNCTION learn_costs(materialized_view_state, text, boolean, bigint, double precision) IS
    'What is known of the costs after a refresh';

CREATE TYPE refresh_choice AS (
    -- none, fast, complete
    method text,
    form text,
    reason text,
    pending_rows bigint,
    -- whether the costs decided
    by_cost boolean,
    -- whether upkeep (compiling, repairing a log) may make it fast again
    needs_upkeep boolean,
    -- when all was found to be as it must be for a fast refresh
    checked_at pg_snapshot
);

CREATE FUNCTION base_rows(p_mv_id integer) RETURNS double precision
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce(sum(greatest(m.reltuples, 0)), 0)
    FROM materialized_view_sources s CROSS JOIN LATERAL log_members(s.source) t JOIN pg_class m ON m.oid = t.member
    WHERE s.mv_id = p_mv_id
$$;
COMMENT ON FUNCTION base_rows(integer) IS 'About how many rows the base tables of a materialized view have';

-- What this asks of the catalog is the same each time: planning it anew, as PostgreSQL does where it expects a little of that,
-- costs more than running it.
CREATE FUNCTION choose_refresh(p_view materialized_view_settings, p_state materialized_view_state, p_method text) RETURNS refresh_choice
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    wanted text := coalesce(p_method, p_view.refresh_method);
    choice refresh_choice;
    problem text;
    marked_log integer;
BEGIN
    choice.method := 'complete';
    choice.by_cost := false;
    choice.form := choose_form(p_view, wanted, p_state.last_refresh IS NULL);
    IF p_view.kind = 'native' OR wanted IN ('complete', 'in_place', 'rebuild') THEN
        choice.reason := CASE WHEN p_view.kind = 'native' THEN 'a native MATERIALIZED VIEW' WHEN p_method IS NOT NULL THEN 'asked for'
                              ELSE 'its refresh method' END;
        RETURN choice;
    ELSIF p_state.last_refresh IS NULL THEN
        choice.reason := 'first fill';
        RETURN choice;
    END IF;
    choice.checked_at := pg_current_snapshot();
    SELECT * INTO problem, choice.needs_upkeep FROM fast_problem(p_view.mv_id, p_state);
    IF problem IS NULL THEN
        SELECT * INTO choice.pending_rows, marked_log FROM pending_changes(p_view.mv_id, p_state.last_snapshot);
        IF marked_log IS NOT NULL THEN
            problem := format('log of %s: the table was truncated, or changed past the log',
                              (SELECT qualified_name(base_table) FROM materialized_view_logs WHERE log_id = marked_log));
        END IF;
    ELSIF p_method = 'fast' AND NOT EXISTS (SELECT FROM fast_programs WHERE mv_id = p_view.mv_id AND body IS NOT NULL) THEN
        RAISE EXCEPTION '%', format('materialized view %s can not be refreshed fast: %s', shown_name(p_view), problem)
            USING ERRCODE = 'feature_not_supported', HINT = 'mvrefreshd explain shows more. Use the refresh method auto or complete.';
    END IF;
    IF problem IS NOT NULL THEN
        choice.reason := problem;
    ELSIF choice.pending_rows = 0 THEN
        choice.method := 'none';
        choice.reason := 'nothing pending';
    ELSIF wanted = 'fast' THEN
        choice.method := 'fast';
        choice.reason := CASE WHEN p_method IS NULL THEN 'its refresh method' ELSE 'asked for' END;
    ELSE
        SELECT c.method, c.reason INTO choice.method, choice.reason
        FROM cheaper_method(choice.pending_rows, p_state, base_rows(p_view.mv_id)) c;
        choice.by_cost := true;
    END IF;
    RETURN choice;
END $$;
COMMENT ON FUNCTION choose_refresh(materialized_view_settings, materialized_view_state, text) IS
    'How a materialized view is to be refreshed now: not at all, fast or completely, and why';

CREATE TYPE refresh_result AS (
    snapshot pg_snapshot,
    rows_inserted bigint,
    rows_updated bigint,
    rows_deleted bigint,
    -- what was done in the end, which need not be what was chosen
    method text,
    form text,
    reason text,
    by_cost boolean
);

CREATE FUNCTION try_fast_refresh(p_mv_id integer, p_state materialized_view_state, p_choice refresh_choice) RETURNS refresh_result
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    result refresh_result;
    missing bigint;
    must_complete boolean;
    failure text;
BEGIN
    SELECT snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, f.must_complete
    INTO STRICT result.snapshot, result.rows_inserted, result.rows_updated, result.rows_deleted, missing, must_complete
    FROM run_refresh_function('fast', p_mv_id, quote_literal(p_state.last_snapshot) || '::pg_catalog.pg_snapshot')
         AS f (snapshot pg_snapshot, rows_inserted bigint, rows_updated bigint, rows_deleted bigint, rows_missing bigint, must_complete boolean);
    failure := CASE
        WHEN must_complete IS NOT FALSE THEN 'a base table was truncated, or changed past its log'
        WHEN missing IS DISTINCT FROM 0 THEN format('%s stored rows were not as the last refresh left them', missing)
        -- each statement has a snapshot of its own: the logs must have been fine in that of the refresh, too
        WHEN current_setting('transaction_isolation') = 'read committed' AND result.snapshot::text IS DISTINCT FROM p_choice.checked_at::text THEN (SELECT problem FROM fast_problem(p_mv_id, p_state))
    END;
    IF failure IS NOT NULL THEN
        RAISE EXCEPTION '%', failure USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    result.method := 'fast';
    result.reason := p_choice.reason;
    result.by_cost := p_choice.by_cost;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    -- Undone. A complete refresh may do, but not if the trouble is the server's, a lock, or a race.
    IF left(SQLSTATE, 2) IN ('25', '40', '53', '55', '57', '58') AND failure IS NULL THEN
        RAISE;
    END IF;
    result.method := NULL;
    result.reason := coalesce(failure, 'the fast refresh failed: ' || SQLERRM);
    RETURN result;
END $$;
COMMENT ON FUNCTION try_fast_refresh(integer, materialized_view_state, refresh_choice) IS
    'Refreshes fast; if that does not succeed nothing has happened, and there is a reason but no method in the result';

CREATE FUNCTION run_complete_refresh(p_view materialized_view_settings, p_form text, p_reason text) RETURNS refresh_result
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    result refresh_result;
BEGIN
    IF p_view.kind = 'native' THEN
        SELECT n.snapshot, n.form INTO result.snapshot, result.form FROM native_refresh(p_view.mv_relation, p_view.session_settings) n;
    ELSE
        PERFORM ensure_compiled(p_view.mv_id);
        SELECT snapshot, rows_inserted, rows_updated, rows_deleted
        INTO STRICT result.snapshot, result.rows_inserted, result.rows_updated, result.rows_deleted
        FROM run_refresh_function('complete_' || p_form, p_view.mv_id)
             AS (snapshot pg_snapshot, rows_inserted bigint, rows_updated bigint, rows_deleted bigint);
        result.form := p_form;
    END IF;
    result.method := 'complete';
    result.reason := p_reason;
    result.by_cost := false;
    RETURN result;
END $$;
COMMENT ON FUNCTION run_complete_refresh(materialized_view_settings, text, text) IS 'Refreshes completely';

CREATE FUNCTION run_refresh(p_view materialized_view_settings, p_state materialized_view_state, p_choice refresh_choice) RETURNS refresh_result
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    result refresh_result;
BEGIN
    IF p_choice.method = 'fast' THEN
        result := try_fast_refresh(p_view.mv_id, p_state, p_choice);
        IF result.method IS NOT NULL THEN
            RETURN result;
        END IF;
    END IF;
    result := run_complete_refresh(p_view, p_choice.form, coalesce(result.reason, p_choice.reason));
    result.by_cost := p_choice.method = 'complete' AND p_choice.by_cost;
    RETURN result;
END $$;
COMMENT ON FUNCTION run_refresh(materialized_view_settings, materialized_view_state, refresh_choice) IS
    'Carries out a choice; a fast refresh that does not succeed is followed by a complete one';
