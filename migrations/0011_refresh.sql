-- One refresh, from lock to history. perform_refresh and perform_group_refresh run with the module's rights and are for
-- the daemon; everybody else comes through refresh_materialized_view, which asks row security for a permit first.

CREATE TYPE refresh_outcome AS (
    -- refreshed; unchanged: nothing is pending; busy: another session is at it; done_elsewhere: another session was
    -- faster; off: disabled or suspended; gone
    status text,
    mv_id integer,
    method text,
    form text,
    -- why this method
    reason text,
    last_refresh timestamptz,
    duration_ms double precision,
    rows_changed bigint,
    avg_cost_ms double precision,
    database_now timestamptz,
    -- whether upkeep (compiling, repairing a log) may make the next refresh a fast one
    needs_upkeep boolean,
    -- logged changes that were waiting, where they were counted
    pending_rows bigint
);

CREATE FUNCTION elapsed_ms(p_since timestamptz) RETURNS double precision
-- planned as part of whatever calls it, as it has no setting of its own: names in such a body were bound when it was created
LANGUAGE sql VOLATILE
RETURN extract(epoch FROM clock_timestamp() - p_since) * 1000;
COMMENT ON FUNCTION elapsed_ms(timestamptz) IS 'Milliseconds since an instant, by the clock and not by the transaction''s time';

CREATE FUNCTION deferrable_events() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN (
        SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(t.tgrelid) + pg_stat_get_xact_tuples_updated(t.tgrelid)
                            + pg_stat_get_xact_tuples_deleted(t.tgrelid)), 0)
        FROM pg_trigger t
        WHERE t.tgconstraint > 0 AND t.tgdeferrable
          -- the server's own triggers check keys, with the rights of the tables' owners
          AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype <> 't')
    );
END $$;
COMMENT ON FUNCTION deferrable_events() IS 'How many rows this session has lately written to tables with deferrable triggers; grows with each of them';

CREATE FUNCTION refuse_leftovers(p_events_before bigint, p_path text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    culprit text;
BEGIN
    -- Deferred triggers and cursors WITH HOLD that a query's function leaves behind would run at commit, outside the
    -- refresh function and so with the rights of this session. (PostgreSQL 18 runs triggers as the role that queued them.)
    IF deferrable_events() > p_events_before THEN
        culprit := 'a deferrable trigger';
    ELSE
        SELECT format('cursor %I WITH HOLD', name) INTO culprit FROM pg_cursors WHERE is_holdable LIMIT 1;
    END IF;
    IF culprit IS NOT NULL THEN
        RAISE EXCEPTION 'the refresh would leave behind work with the rights of "%": %', session_user, culprit
            USING ERRCODE = 'insufficient_privilege', HINT = 'Make the trigger not deferrable, or remove the cursor.';
    END IF;
    -- see 0008: a search_path that was set for the session and then hidden again
    IF p_path IS DISTINCT FROM current_setting('search_path') THEN
        RAISE EXCEPTION 'a function that the query calls has changed search_path beyond its own end'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Use ALTER FUNCTION ... SET search_path = ... instead.';
    END IF;
END $$;
COMMENT ON FUNCTION refuse_leftovers(bigint, text) IS 'Fails if a refresh has left behind anything that would act with other rights';

CREATE FUNCTION run_refresh_function(p_name text, p_mv_id integer, p_arguments text DEFAULT '') RETURNS record
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    module name := current_schema();
    events_before bigint := deferrable_events();
    command text := format('SELECT * FROM %I.%I(%s)', module, p_name || '$' || p_mv_id, p_arguments);
    check_command text := format('SELECT %I.refuse_leftovers($1, pg_catalog.current_setting(''search_path''))', module);
    result record;
BEGIN
    EXECUTE command INTO STRICT result;
    -- from here on search_path may be anybody's: no name without its schema, no operator
    EXECUTE check_command USING events_before;
    RETURN result;
END $$;
COMMENT ON FUNCTION run_refresh_function(text, integer, text) IS 'Runs one of the compiled functions of a materialized view and makes sure that it leaves nothing behind';

CREATE FUNCTION native_refresh(p_relation regclass, p_settings jsonb, OUT snapshot pg_snapshot, OUT form text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    own_settings jsonb := kept_session_settings();
    command text;
BEGIN
    -- CONCURRENTLY needs a unique index without a condition, and rows to compare with
    IF EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
               WHERE i.indrelid = p_relation AND i.indisunique AND i.indisvalid AND i.indimmediate
                 AND i.indpred IS NULL AND i.indexprs IS NULL AND c.relispopulated) THEN
        form := 'concurrently';
        command := format('REFRESH MATERIALIZED VIEW CONCURRENTLY %s', qualified_name(p_relation));
    ELSE
        form := 'plain';
        command := format('REFRESH MATERIALIZED VIEW %s', qualified_name(p_relation));
    END IF;
    -- Up to PostgreSQL 16 the query's functions see the session's search_path, so it is the one they were adopted with.
    -- PostgreSQL itself runs them as the owner and restricted.
    PERFORM set_config(s.key, s.value, true) FROM jsonb_each_text(p_settings) s WHERE own_settings ? s.key;
    PERFORM set_config('search_path', coalesce(p_settings ->> 'search_path', 'pg_catalog, pg_temp'), true);
    EXECUTE command;
    PERFORM pg_catalog.set_config('search_path', own_path, true);
    PERFORM set_config(s.key, s.value, true) FROM jsonb_each_text(own_settings) s;
END $$;
COMMENT ON FUNCTION native_refresh(regclass, jsonb) IS 'REFRESH MATERIALIZED VIEW, CONCURRENTLY where it can be';

CREATE FUNCTION choose_form(p_view materialized_view_settings, p_method text, p_is_empty boolean) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN p_method IN ('in_place', 'rebuild') THEN p_method
    -- nobody reads a materialized view that was never filled
    WHEN p_is_empty THEN 'rebuild'
    ELSE p_view.complete_form
END;
COMMENT ON FUNCTION choose_form(materialized_view_settings, text, boolean) IS 'The form of the complete refresh to do';

CREATE FUNCTION try_refresh_lock(p_mv_id integer, p_wait boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- held to the end of the transaction, so it works behind a transaction pooler and dies with its backend
    IF p_wait THEN
        PERFORM pg_advisory_xact_lock(module_key(), p_mv_id);
        RETURN true;
    END IF;
    RETURN pg_try_advisory_xact_lock(module_key(), p_mv_id);
END $$;
COMMENT ON FUNCTION try_refresh_lock(integer, boolean) IS 'Only one refresh of a materialized view at a time, from whichever session or daemon';

CREATE FUNCTION dependency_level(p_mv_id integer) RETURNS integer
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH RECURSIVE below AS (
        SELECT p_mv_id AS mv_id, 0 AS depth
        UNION
        SELECT m.mv_id, below.depth + 1
        FROM below
        JOIN materialized_view_sources s ON s.mv_id = below.mv_id
        JOIN materialized_view_settings m ON m.mv_relation = s.source
        WHERE below.depth < 1000
    )
    SELECT max(depth) FROM below
$$;
COMMENT ON FUNCTION dependency_level(integer) IS 'How many materialized views lie one upon the other below this one';

CREATE FUNCTION perform_group_refresh(
    p_group text,
    p_trigger text,
    p_method text DEFAULT NULL,
    p_due_at timestamptz DEFAULT NULL,
    -- with p_if_seen: do nothing unless the latest refresh of a member is still the one that the caller knows
    p_if_seen boolean DEFAULT false,
    p_seen_last_refresh timestamptz DEFAULT NULL,
    p_wait boolean DEFAULT false
) RETURNS SETOF refresh_outcome
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    member record;
    members integer[];
    latest timestamptz;
BEGIN
    SELECT array_agg(s.mv_id ORDER BY s.mv_id), max(t.last_refresh) INTO members, latest
    FROM materialized_view_settings s JOIN materialized_view_state t USING (mv_id)
    WHERE s.refresh_group = p_group AND s.enabled AND s.mv_relation IS NOT NULL
      AND NOT coalesce(t.suspended_at > s.changed_at, false);
    IF p_if_seen AND (latest > p_seen_last_refresh OR (p_seen_last_refresh IS NULL AND latest IS NOT NULL)) THEN
        RETURN QUERY
        SELECT 'done_elsewhere', t.mv_id, NULL::text, NULL::text, NULL::text, t.last_refresh, NULL::double precision, NULL::bigint,
               t.avg_cost_ms, clock_timestamp(), false, NULL::bigint
        FROM materialized_view_state t WHERE t.mv_id = ANY (members);
        RETURN;
    END IF;
    IF cardinality(members) > 1 AND current_setting('transaction_isolation') = 'read committed' THEN
        RAISE EXCEPTION 'refresh group "%" is refreshed at one snapshot, which READ COMMITTED does not give', p_group
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Use BEGIN ISOLATION LEVEL REPEATABLE READ, or PGOPTIONS=''-c default_transaction_isolation=repeatable\ read''.';
    END IF;
    -- all locks before any work, in one order for everybody
    FOR member IN SELECT id FROM unnest(members) id ORDER BY id LOOP
        IF NOT try_refresh_lock(member.id, p_wait) THEN
            RETURN NEXT ROW('busy', member.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, clock_timestamp(), false, NULL)::refresh_outcome;
            RETURN;
        END IF;
    END LOOP;
    FOR member IN
        SELECT s.mv_id, s.mv_name FROM materialized_view_settings s
        WHERE s.mv_id = ANY (members) ORDER BY dependency_level(s.mv_id), s.mv_id
    LOOP
        BEGIN
            RETURN NEXT perform_refresh(member.mv_id, p_trigger, p_method, p_due_at);
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION USING ERRCODE = SQLSTATE,
                MESSAGE = format('refresh group "%s", materialized view "%s": %s', p_group, member.mv_name, SQLERRM);
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION perform_group_refresh(text, text, text, timestamptz, boolean, timestamptz, boolean) IS
    'Refreshes the materialized views of a group in this transaction, at its one snapshot';

CREATE FUNCTION record_failure(
    p_mv_id integer,
    p_trigger text,
    p_started_at timestamptz,
    p_error text,
    p_error_code text,
    p_retry_after interval DEFAULT NULL,
    p_suspend boolean DEFAULT false,
    p_due_at timestamptz DEFAULT NULL
) RETURNS materialized_view_state
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    state_row materialized_view_state;
BEGIN
    UPDATE materialized_view_state
    SET failures = failures + 1,
        last_error = p_error,
        last_error_code = p_error_code,
        last_error_at = clock_timestamp(),
        -- a failure without a word on either, as of a refresh by hand, changes neither
        retry_at = coalesce(clock_timestamp() + p_retry_after, retry_at),
        -- not later than the refresh began: settings changed while it ran have not been tried yet
        suspended_at = CASE WHEN p_suspend THEN p_started_at ELSE suspended_at END
    WHERE mv_id = p_mv_id
    RETURNING * INTO state_row;
    INSERT INTO refresh_history (mv_id, mv_name, refresh_group, outcome, trigger, due_at, started_at, duration_ms, error, error_code)
    SELECT mv_id, shown_name(s), refresh_group, 'failed', p_trigger, p_due_at,
           p_started_at, elapsed_ms(p_started_at), p_error, p_error_code
    FROM materialized_view_settings s WHERE mv_id = p_mv_id;
    RETURN state_row;
END $$;
COMMENT ON FUNCTION record_failure(integer, text, timestamptz, text, text, interval, boolean, timestamptz) IS
    'Notes a failed refresh; the rows of the materialized view stay as they are';

CREATE FUNCTION take_permit(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
BEGIN
    INSERT INTO refresh_permits (mv_id) VALUES (p_mv_id);
EXCEPTION WHEN insufficient_privilege THEN
    SELECT * INTO view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    RAISE EXCEPTION 'materialized view % belongs to another role', shown_name(view_row)
        USING ERRCODE = 'insufficient_privilege', HINT = 'Only its owner, or a member of that role, may do this.';
END $$;
COMMENT ON FUNCTION take_permit(integer) IS 'Lets row security decide whether the caller may act for a materialized view';

CREATE FUNCTION consume_permit(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM refresh_permits WHERE mv_id = p_mv_id AND xid = pg_current_xact_id();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no permit for this materialized view in this transaction'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Call refresh_materialized_view.';
    END IF;
END $$;
COMMENT ON FUNCTION consume_permit(integer) IS 'Fails unless row security has let the caller write a permit in this transaction';

CREATE FUNCTION perform_permitted_refresh(p_mv_id integer, p_trigger text, p_method text) RETURNS SETOF refresh_outcome
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    group_name text;
BEGIN
    PERFORM consume_permit(p_mv_id);
    SELECT refresh_group INTO group_name FROM materialized_view_settings WHERE mv_id = p_mv_id;
    IF group_name IS NULL THEN
        RETURN NEXT perform_refresh(p_mv_id, p_trigger, p_method, p_wait => true);
    ELSE
        RETURN QUERY SELECT * FROM perform_group_refresh(group_name, p_trigger, p_method, p_wait => true);
    END IF;
END $$;
COMMENT ON FUNCTION perform_permitted_refresh(integer, text, text) IS 'Refreshes a materialized view, or its group, for whoever holds a permit';

CREATE FUNCTION record_permitted_failure(p_mv_id integer, p_trigger text, p_started_at timestamptz, p_error text, p_error_code text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM consume_permit(p_mv_id);
    PERFORM record_failure(p_mv_id, p_trigger, p_started_at, p_error, p_error_code);
END $$;
COMMENT ON FUNCTION record_permitted_failure(integer, text, timestamptz, text, text) IS 'Notes a failed refresh for whoever holds a permit';
