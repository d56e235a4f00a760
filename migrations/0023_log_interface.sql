-- Creating and dropping materialized view logs: ensure_log and drop_log run with the module's rights and are for the daemon;
-- everybody else comes through the functions at the end, which ask row security for a permit first.

CREATE FUNCTION ensure_log(p_base regclass, p_columns name[] DEFAULT NULL, p_lock_timeout_ms integer DEFAULT 2000) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    own_timeout text := current_setting('lock_timeout');
    log_row materialized_view_logs;
    attnums smallint[];
    missing smallint[];
    -- writers queue behind whoever waits for a lock on their table: fail soon rather than keep them waiting
    busy_hint CONSTANT text := 'A transaction that has written to it, or a long-running maintenance command, is still open. Try again after its end.';
BEGIN
    PERFORM require_loggable(p_base);
    attnums := columns_to_log(p_base, p_columns);
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
    INSERT INTO materialized_view_logs (base_table, base_name, logged_attnums, logged_columns)
    VALUES (p_base, qualified_name(p_base), attnums, column_names(p_base, attnums))
    ON CONFLICT (base_table) DO NOTHING
    RETURNING * INTO log_row;
    IF FOUND THEN
        PERFORM create_log_table(log_row.log_id);
        PERFORM create_capture_function(log_row.log_id);
        PERFORM create_capture_triggers(log_row.log_id);
    ELSE
        SELECT * INTO STRICT log_row FROM materialized_view_logs WHERE base_table = p_base FOR UPDATE;
        -- else a damage would pass for the state that the log is left in
        PERFORM repair_log(log_row.log_id);
        SELECT * INTO STRICT log_row FROM materialized_view_logs WHERE log_id = log_row.log_id;
        missing := array(SELECT unnest(attnums) EXCEPT SELECT unnest(log_row.logged_attnums) ORDER BY 1);
        IF cardinality(missing) > 0 THEN
            PERFORM widen_log(log_row.log_id, missing);
        END IF;
    END IF;
    IF log_row.fingerprint IS NULL OR cardinality(missing) > 0 THEN
        UPDATE materialized_view_logs SET fingerprint = log_fingerprint(log_id) WHERE log_id = log_row.log_id;
    END IF;
    PERFORM set_config('lock_timeout', own_timeout, true);
    RETURN log_row.log_id;
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'the log of % can not be made now: the table is in use', qualified_name(p_base)
        USING ERRCODE = 'lock_not_available', HINT = busy_hint;
END $$;
COMMENT ON FUNCTION ensure_log(regclass, name[], integer) IS
    'Makes sure that these columns of a table are logged, all without names; fails after the lock timeout rather than keep writers waiting';

CREATE FUNCTION drop_log(p_log_id integer, p_lock_timeout_ms integer DEFAULT 2000) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    own_timeout text := current_setting('lock_timeout');
    gone_name text;
BEGIN
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
    DELETE FROM materialized_view_logs WHERE log_id = p_log_id RETURNING base_name INTO gone_name;
    PERFORM drop_capture(p_log_id, true);
    PERFORM set_config('lock_timeout', own_timeout, true);
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'the log of % can not be dropped now: the table is in use', coalesce(gone_name, 'this table')
        USING ERRCODE = 'lock_not_available', HINT = 'Try again when no transaction is reading or writing it.';
END $$;
COMMENT ON FUNCTION drop_log(integer, integer) IS 'Drops a log with its triggers';

CREATE FUNCTION create_permitted_log(p_base regclass, p_lock_timeout_ms integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    made integer;
BEGIN
    PERFORM consume_log_permit(p_base);
    made := ensure_log(p_base, NULL, p_lock_timeout_ms);
    UPDATE materialized_view_logs SET is_kept = true WHERE log_id = made;
    RETURN made;
END $$;
COMMENT ON FUNCTION create_permitted_log(regclass, integer) IS 'Creates the log of a table for whoever holds a permit';

CREATE FUNCTION drop_permitted_log(p_base regclass, p_lock_timeout_ms integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM consume_log_permit(p_base);
    PERFORM drop_log(log_id, p_lock_timeout_ms) FROM materialized_view_logs WHERE base_table = p_base;
END $$;
COMMENT ON FUNCTION drop_permitted_log(regclass, integer) IS 'Drops the log of a table for whoever holds a permit';

CREATE FUNCTION require_base_table(p_path text, p_name text) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    relation regclass := relation_in_path(p_path, p_name);
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION '%', format('table "%s" does not exist', p_name) USING ERRCODE = 'undefined_table';
    END IF;
    RETURN relation;
END $$;
COMMENT ON FUNCTION require_base_table(text, text) IS 'The table that a name means in a search_path; an unknown name is an error';

CREATE FUNCTION create_log_in_path(p_path text, p_name text, p_lock_timeout_ms integer) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    relation regclass := require_base_table(p_path, p_name);
BEGIN
    IF log_refusal(relation) IS NOT NULL THEN
        PERFORM require_loggable(relation);
    END IF;
    PERFORM take_log_permit(relation);
    RETURN create_permitted_log(relation, p_lock_timeout_ms);
END $$;
COMMENT ON FUNCTION create_log_in_path(text, text, integer) IS 'Creates the log of a table in the name of the caller';

CREATE FUNCTION drop_log_in_path(p_path text, p_name text, p_lock_timeout_ms integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    relation regclass := require_base_table(p_path, p_name);
BEGIN
    IF NOT EXISTS (SELECT FROM materialized_view_logs WHERE base_table = relation) THEN
        RAISE EXCEPTION '% has no materialized view log', qualified_name(relation) USING ERRCODE = 'undefined_object';
    END IF;
    PERFORM take_log_permit(relation);
    PERFORM drop_permitted_log(relation, p_lock_timeout_ms);
END $$;
COMMENT ON FUNCTION drop_log_in_path(text, text, integer) IS 'Drops the log of a table in the name of the caller';

CREATE FUNCTION create_materialized_view_log(base_table text, lock_timeout_in_ms integer DEFAULT 2000) RETURNS integer LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT create_log_in_path(pg_catalog.current_setting('search_path'), base_table, lock_timeout_in_ms);
END;
COMMENT ON FUNCTION create_materialized_view_log(text, integer) IS
    'Has the changes of all columns of a table logged; returns the log_id. Fails with lock_not_available where it would have to wait longer for its writers';

CREATE FUNCTION drop_materialized_view_log(base_table text, lock_timeout_in_ms integer DEFAULT 2000) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT drop_log_in_path(pg_catalog.current_setting('search_path'), base_table, lock_timeout_in_ms);
END;
COMMENT ON FUNCTION drop_materialized_view_log(text, integer) IS 'Drops the log of a table; what reads the table is refreshed completely from then on';
