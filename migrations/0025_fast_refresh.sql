-- The choice of the refresh method (what methods cost is in 0032), and the fast refresh itself.

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

CREATE FUNCTION refusal_in_words(p_clause text, p_reason text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- not of the whole row, for which the text of the program would be unpacked
    RETURN CASE WHEN p_reason IS NOT NULL THEN concat_ws(': ', p_clause, p_reason) END;
END $$;
COMMENT ON FUNCTION refusal_in_words(text, text) IS 'Why a query can not be refreshed fast, in words, or NULL';

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
        ELSE refusal_in_words(program.refused_clause, program.refused_reason)
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

CREATE FUNCTION damaged_log(p_mv_id integer) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (
        SELECT l.log_id
        FROM fast_program_logs l
        LEFT JOIN log_fingerprints(array(SELECT log_id FROM fast_program_logs WHERE mv_id = p_mv_id)) f USING (log_id)
        LEFT JOIN materialized_view_logs g USING (log_id)
        WHERE l.mv_id = p_mv_id AND (g.fingerprint IS NULL OR f.fingerprint IS DISTINCT FROM g.fingerprint)
        ORDER BY l.log_id LIMIT 1);
END $$;
COMMENT ON FUNCTION damaged_log(integer) IS 'A log that a materialized view reads and that may have missed changes, or NULL';

CREATE FUNCTION logs_problem(p_mv_id integer, p_snapshot pg_snapshot, p_is_checked boolean, OUT problem text, OUT needs_upkeep boolean)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    log integer;
BEGIN
    IF NOT p_is_checked THEN
        log := damaged_log(p_mv_id);
    END IF;
    needs_upkeep := log IS NOT NULL;
    IF log IS NULL THEN
        -- Columns that were added to a log later are others' columns: those of the program were logged before it was installed,
        -- which the watermark sees (watermark_problem). So a new materialized view costs others no complete refresh.
        SELECT l.log_id INTO log FROM fast_program_logs l WHERE l.mv_id = p_mv_id AND NOT log_reaches(l.log_id, p_snapshot) ORDER BY l.log_id LIMIT 1;
    END IF;
    IF log IS NOT NULL THEN
        problem := format('log of %s: %s',
            coalesce((SELECT coalesce(qualified_name(g.base_table), g.base_name) FROM materialized_view_logs g WHERE g.log_id = log), '(dropped)'),
            CASE WHEN needs_upkeep THEN log_problem(log) ELSE 'it does not reach back to the last refresh' END);
    END IF;
END $$;
COMMENT ON FUNCTION logs_problem(integer, pg_snapshot, boolean) IS
    'Why a log that a materialized view reads does not hold all changes since a snapshot, in words, or NULL; and whether it needs repair';

CREATE FUNCTION fast_problem(
    p_mv_id integer, p_state materialized_view_state, OUT problem text, OUT needs_upkeep boolean, OUT is_checked boolean
)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    is_checked := is_as_checked(p_state);
    IF is_checked THEN
        SELECT refusal_in_words(f.refused_clause, f.refused_reason) INTO problem FROM fast_programs f WHERE f.mv_id = p_mv_id;
    ELSE
        SELECT * INTO problem, needs_upkeep FROM program_problem(p_mv_id);
    END IF;
    IF problem IS NULL THEN
        problem := watermark_problem(p_mv_id, p_state);
    END IF;
    IF problem IS NULL THEN
        SELECT * INTO problem, needs_upkeep FROM logs_problem(p_mv_id, p_state.last_snapshot, is_checked);
    END IF;
    needs_upkeep := coalesce(needs_upkeep, false);
END $$;
COMMENT ON FUNCTION fast_problem(integer, materialized_view_state) IS
    'Why a materialized view can not be refreshed fast now, in words, or NULL; whether upkeep can do something about it; whether program and logs were known to be in order';

CREATE FUNCTION pending_changes(
    p_mv_id integer, p_snapshot pg_snapshot, p_most bigint DEFAULT NULL, OUT pending_rows bigint, OUT marked_log integer
)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    log_id integer;
    found record;
BEGIN
    pending_rows := 0;
    FOR log_id IN SELECT l.log_id FROM fast_program_logs l WHERE l.mv_id = p_mv_id ORDER BY l.log_id LOOP
        found := pending_in_log(log_id, p_snapshot, p_most + 1 - pending_rows);
        pending_rows := pending_rows + found.pending_rows;
        IF pending_rows > p_most THEN
            pending_rows := NULL;
            RETURN;
        ELSIF found.is_marked THEN
            marked_log := coalesce(marked_log, log_id);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION pending_changes(integer, pg_snapshot, bigint) IS
    'How many log rows wait for a materialized view, NULL if more than so many, and a log among them that says that more has happened than it holds';

CREATE TYPE refresh_choice AS (
    -- none, fast, complete
    method text,
    form text,
    reason text,
    -- NULL: not counted, or not all of them
    pending_rows bigint,
    -- of a fast refresh whose pending rows are not counted: it is done for no more than so many, NULL: however many
    most_rows bigint,
    -- NULL: not looked up, as costs are known or don't matter
    base_rows double precision,
    -- whether the costs decide
    by_cost boolean,
    -- whether upkeep (compiling, repairing a log) may make it fast again
    needs_upkeep boolean,
    -- whether program and logs were known to be in order from an earlier check
    is_checked boolean,
    -- when all was found to be as it must be for a fast refresh
    checked_at pg_snapshot
);

CREATE FUNCTION base_rows(p_mv_id integer) RETURNS double precision
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN (
        SELECT coalesce(sum(greatest(m.reltuples, 0)), 0)
        FROM materialized_view_sources s CROSS JOIN LATERAL unnest(log_member_ids(s.source)) AS t (member) JOIN pg_class m ON m.oid = t.member
        WHERE s.mv_id = p_mv_id);
END $$;
COMMENT ON FUNCTION base_rows(integer) IS 'About how many rows the base tables of a materialized view have';

CREATE FUNCTION mark_problem(p_log_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN format('log of %s: the table was truncated, or changed past the log',
                  (SELECT qualified_name(base_table) FROM materialized_view_logs WHERE log_id = p_log_id));
END $$;
COMMENT ON FUNCTION mark_problem(integer) IS 'What it means that something happened that a log does not hold, in words';

CREATE FUNCTION choice_by_pending(INOUT p_choice refresh_choice, p_state materialized_view_state, p_pending bigint)
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
BEGIN
    p_choice.pending_rows := p_pending;
    IF p_pending = 0 THEN
        p_choice.method := 'none';
        p_choice.reason := 'nothing pending';
        p_choice.by_cost := false;
    ELSIF p_choice.by_cost THEN
        SELECT c.method, c.reason INTO p_choice.method, p_choice.reason FROM cheaper_method(p_pending, p_state, p_choice.base_rows) c;
    ELSE
        p_choice.method := 'fast';
    END IF;
END $$;
COMMENT ON FUNCTION choice_by_pending(refresh_choice, materialized_view_state, bigint) IS
    'The choice where a fast refresh is possible, once pending rows are counted; NULL: more than its most_rows';

-- What this asks of the catalog is the same each time: planning it anew, as PostgreSQL does where it expects a little of that,
-- costs more than running it. And it is a few rows by key each time, which the planner, taking ten for any array and the catalog for
-- small, would rather read all of the catalog for.
CREATE FUNCTION choose_refresh(
    p_view materialized_view_settings,
    p_state materialized_view_state,
    p_method text,
    -- else a fast refresh may be chosen with its pending rows uncounted, to be counted by itself and then chosen for good
    p_must_count boolean DEFAULT true
) RETURNS refresh_choice
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
SET plan_cache_mode TO force_generic_plan SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    wanted text := coalesce(p_method, p_view.refresh_method);
    choice refresh_choice;
    problem text;
    pending bigint;
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
    SELECT * INTO problem, choice.needs_upkeep, choice.is_checked FROM fast_problem(p_view.mv_id, p_state);
    IF problem IS NULL THEN
        choice.by_cost := wanted <> 'fast';
        IF choice.by_cost THEN
            IF p_state.fast_ms_per_row IS NULL THEN
                choice.base_rows := base_rows(p_view.mv_id);
            END IF;
            -- more need not be counted
            choice.most_rows := most_rows_for_fast(p_state, choice.base_rows);
        END IF;
        choice.reason := CASE WHEN p_method IS NULL THEN 'its refresh method' ELSE 'asked for' END;
        IF NOT p_must_count THEN
            -- a fast refresh counts as well itself, and once
            IF EXISTS (SELECT FROM fast_program_logs l
                       WHERE l.mv_id = p_view.mv_id AND is_pending_beyond(l.log_id, p_state.last_snapshot, choice.most_rows)) THEN
                RETURN choice_by_pending(choice, p_state, NULL);
            END IF;
            choice.method := 'fast';
            RETURN choice;
        END IF;
        SELECT * INTO pending, marked_log FROM pending_changes(p_view.mv_id, p_state.last_snapshot, choice.most_rows);
        IF marked_log IS NULL THEN
            RETURN choice_by_pending(choice, p_state, pending);
        END IF;
        problem := mark_problem(marked_log);
        choice.pending_rows := pending;
        choice.by_cost := false;
    ELSIF p_method = 'fast' AND NOT EXISTS (SELECT FROM fast_programs WHERE mv_id = p_view.mv_id AND body IS NOT NULL) THEN
        RAISE EXCEPTION '%', format('materialized view %s can not be refreshed fast: %s', shown_name(p_view), problem)
            USING ERRCODE = 'feature_not_supported', HINT = 'mvrefreshd explain shows more. Use the refresh method auto or complete.';
    END IF;
    choice.reason := problem;
    RETURN choice;
END $$;
COMMENT ON FUNCTION choose_refresh(materialized_view_settings, materialized_view_state, text, boolean) IS
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
    by_cost boolean,
    pending_rows bigint
);

CREATE FUNCTION try_fast_refresh(p_mv_id integer, p_state materialized_view_state, p_choice refresh_choice) RETURNS refresh_result
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    result refresh_result;
    choice refresh_choice := p_choice;
    most_rows bigint := CASE WHEN p_choice.pending_rows IS NULL THEN p_choice.most_rows END;
    pending bigint;
    missing bigint;
    must_complete boolean;
    failure text;
BEGIN
    SELECT f.snapshot, f.rows_inserted, f.rows_updated, f.rows_deleted, f.rows_missing, f.must_complete, f.pending_rows
    INTO STRICT result.snapshot, result.rows_inserted, result.rows_updated, result.rows_deleted, missing, must_complete, pending
    FROM run_refresh_function('fast', p_mv_id, format('%L::pg_catalog.pg_snapshot, %L', p_state.last_snapshot, most_rows))
         AS f (snapshot pg_snapshot, rows_inserted bigint, rows_updated bigint, rows_deleted bigint, rows_missing bigint, must_complete boolean,
               pending_rows bigint);
    IF p_choice.pending_rows IS NULL AND must_complete IS FALSE THEN
        choice := choice_by_pending(choice, p_state, CASE WHEN pending > most_rows THEN NULL ELSE pending END);
    END IF;
    failure := CASE
        WHEN must_complete IS NOT FALSE THEN
            coalesce((SELECT mark_problem(marked_log) FROM pending_changes(p_mv_id, p_state.last_snapshot) WHERE marked_log IS NOT NULL),
                     'a base table was truncated, or changed past its log')
        WHEN missing IS DISTINCT FROM 0 THEN format('%s stored rows were not as the last refresh left them', missing)
        -- each statement has a snapshot of its own: the logs must have been fine in that of the refresh, too
        WHEN current_setting('transaction_isolation') = 'read committed' AND result.snapshot::text IS DISTINCT FROM p_choice.checked_at::text THEN (SELECT problem FROM fast_problem(p_mv_id, p_state))
    END;
    IF failure IS NOT NULL THEN
        RAISE EXCEPTION '%', failure USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    result.method := nullif(choice.method, 'complete');
    result.reason := choice.reason;
    result.by_cost := choice.by_cost;
    result.pending_rows := choice.pending_rows;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    -- Undone. A complete refresh may do, but not if the trouble is the server's, a lock, or a race.
    IF left(SQLSTATE, 2) IN ('25', '40', '53', '55', '57', '58') AND failure IS NULL THEN
        RAISE;
    END IF;
    result.method := NULL;
    result.reason := coalesce(failure, 'the fast refresh failed: ' || SQLERRM);
    result.by_cost := false;
    result.pending_rows := choice.pending_rows;
    RETURN result;
END $$;
COMMENT ON FUNCTION try_fast_refresh(integer, materialized_view_state, refresh_choice) IS
    'Refreshes fast, or finds that nothing is pending; if it does not succeed, or is not worth it, nothing has happened, and there is a reason but no method in the result';

CREATE FUNCTION is_quarantined(p_view materialized_view_settings) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN EXISTS (SELECT FROM materialized_view_state WHERE mv_id = p_view.mv_id AND quarantined_at > coalesce(p_view.resumed_at, '-infinity'));
END $$;
COMMENT ON FUNCTION is_quarantined(materialized_view_settings) IS
    'Whether a materialized view was found to differ from its query, and nobody has looked at it since';

CREATE FUNCTION jit_costs() RETURNS double precision[]
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN ARRAY[current_setting('jit_above_cost'), current_setting('jit_inline_above_cost'), current_setting('jit_optimize_above_cost')]::double precision[];
END $$;
COMMENT ON FUNCTION jit_costs() IS 'From which estimated costs on statements are compiled, inlined and optimized by the settings of now; -1 is never';

CREATE FUNCTION set_jit_costs(p_costs double precision[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    done text;
BEGIN
    done := set_config('jit_above_cost', p_costs[1]::text, true) || set_config('jit_inline_above_cost', p_costs[2]::text, true)
            || set_config('jit_optimize_above_cost', p_costs[3]::text, true);
END $$;
COMMENT ON FUNCTION set_jit_costs(double precision[]) IS 'Sets what jit_costs tells, until the end of the transaction';

CREATE FUNCTION dearer_jit_costs(p_costs double precision[]) RETURNS double precision[]
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    -- Around its query a complete refresh has about a hundred expressions of its own, which are evaluated for few rows but
    -- compiled with all others: 0.6 ms each, 7 ms if they are optimized. The query must be worth that.
    factors constant double precision[] := '{2,10,10}';
BEGIN
    FOR setting IN 1..3 LOOP
        IF p_costs[setting] > 0 THEN
            p_costs[setting] := least(p_costs[setting], 1e300) * factors[setting];
        END IF;
    END LOOP;
    RETURN p_costs;
END $$;
COMMENT ON FUNCTION dearer_jit_costs(double precision[]) IS 'From which estimated costs on a complete refresh is compiled, inlined and optimized';

CREATE FUNCTION run_complete_refresh(p_view materialized_view_settings, p_form text, p_reason text) RETURNS refresh_result
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    result refresh_result;
    costs double precision[] := jit_costs();
BEGIN
    IF p_view.kind = 'native' THEN
        SELECT n.snapshot, n.form INTO result.snapshot, result.form FROM native_refresh(p_view.mv_relation, p_view.session_settings) n;
    ELSE
        PERFORM ensure_compiled(p_view.mv_id);
        PERFORM set_jit_costs(dearer_jit_costs(costs));
        SELECT snapshot, rows_inserted, rows_updated, rows_deleted
        INTO STRICT result.snapshot, result.rows_inserted, result.rows_updated, result.rows_deleted
        FROM run_refresh_function('complete_' || CASE WHEN is_quarantined(p_view) THEN 'by_query' ELSE p_form END, p_view.mv_id)
             AS (snapshot pg_snapshot, rows_inserted bigint, rows_updated bigint, rows_deleted bigint);
        PERFORM set_jit_costs(costs);
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
    tried refresh_result;
    result refresh_result;
BEGIN
    IF p_choice.method = 'fast' THEN
        tried := try_fast_refresh(p_view.mv_id, p_state, p_choice);
        IF tried.method IS NOT NULL THEN
            RETURN tried;
        END IF;
    ELSE
        tried.reason := p_choice.reason;
        tried.by_cost := p_choice.by_cost;
        tried.pending_rows := p_choice.pending_rows;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- early, so that few others begin between the snapshot and this transaction's own id: see snapshot_with
        PERFORM pg_current_xact_id();
    END IF;
    result := run_complete_refresh(p_view, p_choice.form, tried.reason);
    result.by_cost := tried.by_cost;
    result.pending_rows := tried.pending_rows;
    RETURN result;
END $$;
COMMENT ON FUNCTION run_refresh(materialized_view_settings, materialized_view_state, refresh_choice) IS
    'Carries out a choice; a fast refresh that does not succeed is followed by a complete one';
