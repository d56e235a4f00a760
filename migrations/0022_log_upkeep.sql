-- Upkeep of logs: whether they can be trusted, repair, pruning, and what is pending in them.

CREATE FUNCTION log_fingerprints(p_logs integer[]) RETURNS TABLE (log_id integer, fingerprint text)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    cluster text := concat_ws(' ', (SELECT system_identifier FROM pg_control_system()), own_incarnation());
BEGIN
    -- Everything on which a log's completeness depends, by catalog row. A row's xmin gives away that it was changed, even if
    -- it was changed back: a trigger disabled and enabled again, a partition detached and attached, a column renamed twice.
    -- Runs with every refresh: PL/pgSQL, which keeps the plan, one query for all logs, and only what takes no locks.
    RETURN QUERY
    SELECT l.log_id, md5(concat_ws(' ',
        cluster,
        (SELECT string_agg(concat_ws(':', c.oid, c.relkind, c.relpersistence, c.relispartition), ',' ORDER BY c.oid)
         FROM pg_class c WHERE c.oid = ANY (o.members)),
        (SELECT string_agg(s.srrelid::text, ',' ORDER BY s.srrelid) FROM pg_subscription_rel s WHERE s.srrelid = ANY (o.members)),
        (SELECT string_agg(concat_ws(':', i.inhrelid, i.inhparent, i.xmin), ',' ORDER BY i.inhrelid, i.inhparent)
         FROM pg_inherits i WHERE i.inhrelid = ANY (o.members)),
        (SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid, a.attisdropped, a.xmin), ',' ORDER BY a.attnum)
         FROM pg_attribute a WHERE a.attrelid = l.base_table AND a.attnum = ANY (l.logged_attnums)),
        -- the expression of a generated column can be replaced, which rewrites its values past all triggers
        (SELECT string_agg(concat_ws(':', d.oid, d.xmin), ',' ORDER BY d.oid)
         FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = l.base_table AND a.attnum = ANY (l.logged_attnums) AND a.attgenerated <> ''),
        -- whether the guard, which never fires, is disabled is all the same
        (SELECT string_agg(concat_ws(':', t.oid, t.tgrelid, t.tgname, t.tgtype,
                                     CASE WHEN t.tgname <> o.guard THEN concat_ws(':', t.tgenabled, t.xmin) END), ',' ORDER BY t.oid)
         FROM pg_trigger t
         WHERE t.oid = ANY (ARRAY(SELECT d.objid FROM pg_depend d
                                  WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = o.function_oid))),
        (SELECT concat_ws(':', p.oid, p.proowner, p.xmin) FROM pg_proc p WHERE p.oid = o.function_oid),
        -- emptied by hand, it is another file
        (SELECT concat_ws(':', c.oid, c.relpersistence, pg_relation_filenode(c.oid)) FROM pg_class c WHERE c.oid = o.log_oid),
        -- without xmin: readers are granted columns; another type would be another file
        (SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid, a.attisdropped), ',' ORDER BY a.attnum)
         FROM pg_attribute a WHERE a.attrelid = o.log_oid AND a.attnum > 0),
        (SELECT string_agg(concat_ws(':', i.indexrelid, i.indisvalid), ',' ORDER BY i.indexrelid)
         FROM pg_index i WHERE i.indrelid = o.log_oid)))
    FROM materialized_view_logs l
    -- looked up once for each log; by values and arrays the indexes of the catalog are used
    CROSS JOIN LATERAL (
        SELECT log_member_ids(l.base_table) AS members, to_regclass(log_table(l.log_id))::oid AS log_oid,
               to_regprocedure(format('%I.%I()', current_schema(), 'capture$' || l.log_id))::oid AS function_oid,
               capture_trigger(l.log_id, 'guard') AS guard
        OFFSET 0) AS o
    WHERE l.log_id = ANY (p_logs);
END $$;
COMMENT ON FUNCTION log_fingerprints(integer[]) IS 'For each of these logs what changes whenever anything happened by which it may have missed changes';

CREATE FUNCTION log_fingerprint(p_log_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (SELECT f.fingerprint FROM log_fingerprints(ARRAY[p_log_id]) f);
END $$;
COMMENT ON FUNCTION log_fingerprint(integer) IS 'Changes whenever anything happened by which a log may have missed changes';

CREATE FUNCTION log_table_problem(p_log_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN c.oid IS NULL THEN 'its log table has been dropped'
        WHEN c.relpersistence <> 'p' THEN 'its log table is unlogged'
        WHEN NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid) THEN 'the index of its log table has been dropped'
        WHEN EXISTS (
            -- every logged column, with the type of the base table's
            SELECT FROM (SELECT a.attname, a.atttypid, a.attcollation FROM pg_attribute a
                         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname NOT IN ('xid', 'weight')) stored
            FULL JOIN (SELECT a.attname, a.atttypid, a.attcollation, ('c' || a.attnum)::name AS stored_name FROM pg_attribute a
                       WHERE a.attrelid = l.base_table AND a.attnum = ANY (l.logged_attnums) AND NOT a.attisdropped) base
                ON base.stored_name = stored.attname
            WHERE (base.atttypid, base.attcollation) IS DISTINCT FROM (stored.atttypid, stored.attcollation)
        ) THEN 'the columns of its log table are not those of the base table'
    END
    FROM materialized_view_logs l LEFT JOIN pg_class c ON c.oid = to_regclass(log_table(l.log_id))
    WHERE l.log_id = p_log_id
$$;
COMMENT ON FUNCTION log_table_problem(integer) IS 'Why the table of a log can not go on being used, in words, or NULL';

CREATE FUNCTION stray_trigger(p_log_id integer) RETURNS regclass
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT t.tgrelid::regclass
    FROM materialized_view_logs l
    JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass
        AND d.refobjid = to_regprocedure(format('%I.%I()', module_schema(), 'capture$' || l.log_id))
    JOIN pg_trigger t ON t.oid = d.objid
    WHERE l.log_id = p_log_id
      AND (t.tgrelid NOT IN (SELECT member FROM log_members(l.base_table))
           OR t.tgname NOT IN (SELECT capture_trigger(l.log_id, e) FROM unnest('{insert,update,delete,truncate,guard}'::text[]) e))
    ORDER BY 1 LIMIT 1
$$;
COMMENT ON FUNCTION stray_trigger(integer) IS 'A table that has a trigger of a log and should not: a partition that was detached, say';

CREATE FUNCTION trigger_problem(p_log_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN t.oid IS NULL AND m.depth > 0 THEN format('partition %s has no trigger for %s', qualified_name(m.member), upper(e.event))
        WHEN t.oid IS NULL THEN format('the trigger for %s has been dropped', upper(e.event))
        ELSE format('trigger %I on %s is disabled', t.tgname, qualified_name(m.member))
    END
    FROM materialized_view_logs l
    CROSS JOIN log_members(l.base_table) m
    CROSS JOIN unnest('{insert,update,delete,truncate}'::text[]) e (event)
    LEFT JOIN pg_trigger t ON t.tgrelid = m.member AND t.tgname = capture_trigger(l.log_id, e.event)
        AND t.tgfoid = to_regprocedure(format('%I.%I()', module_schema(), 'capture$' || l.log_id))
    WHERE l.log_id = p_log_id AND (t.oid IS NULL OR t.tgenabled NOT IN ('O', 'A'))
    ORDER BY m.depth, m.member, e.event LIMIT 1
$$;
COMMENT ON FUNCTION trigger_problem(integer) IS 'The first trigger of a log that is missing or disabled, in words, or NULL';

CREATE FUNCTION log_problem_in_words(p_log materialized_view_logs) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce(
        CASE WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = p_log.base_table) THEN 'its base table has been dropped' END,
        'can not be logged any more: ' || log_refusal(p_log.base_table),
        (SELECT format('its column "%s" has been dropped', c.name)
         FROM unnest(p_log.logged_attnums, p_log.logged_columns) AS c (attnum, name)
         JOIN pg_attribute a ON a.attrelid = p_log.base_table AND a.attnum = c.attnum AND a.attisdropped LIMIT 1),
        (SELECT format('its column "%s" has been renamed to "%s"', c.name, a.attname)
         FROM unnest(p_log.logged_attnums, p_log.logged_columns) AS c (attnum, name)
         JOIN pg_attribute a ON a.attrelid = p_log.base_table AND a.attnum = c.attnum AND a.attname <> c.name LIMIT 1),
        log_table_problem(p_log.log_id),
        CASE WHEN p_log.incarnation <> own_incarnation() THEN 'it has been restored from a dump' END,
        trigger_problem(p_log.log_id),
        qualified_name(stray_trigger(p_log.log_id)) || ' has triggers of this log and should not',
        'its columns, partitions or triggers, or the log, have been changed, and perhaps changed back: changes may have been missed')
$$;
COMMENT ON FUNCTION log_problem_in_words(materialized_view_logs) IS 'What is wrong with a log whose fingerprint is not the recorded one';

CREATE FUNCTION log_problem(p_log_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    log_row materialized_view_logs;
BEGIN
    SELECT * INTO log_row FROM materialized_view_logs WHERE log_id = p_log_id;
    IF NOT FOUND THEN
        RETURN 'there is no such log';
    END IF;
    IF log_row.fingerprint = log_fingerprint(p_log_id) THEN
        RETURN NULL;
    END IF;
    RETURN log_problem_in_words(log_row);
END $$;
COMMENT ON FUNCTION log_problem(integer) IS
    'Why a log may have missed changes, in words; NULL if it can not have. As of the snapshot of the calling statement';

CREATE FUNCTION log_reaches(p_log_id integer, p_snapshot pg_snapshot) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN coalesce((
        SELECT pg_visible_in_snapshot(created_xid, p_snapshot) AND pg_snapshot_xmin(p_snapshot) >= pruned_below
        FROM materialized_view_logs WHERE log_id = p_log_id), false);
END $$;
COMMENT ON FUNCTION log_reaches(integer, pg_snapshot) IS
    'Whether a log, if it has no problem, holds all changes since a snapshot, with the columns that were logged by then';

CREATE FUNCTION is_pending_beyond(p_log_id integer, p_snapshot pg_snapshot, p_most bigint) RETURNS boolean
-- see pending_in_log
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET enable_bitmapscan TO off SET enable_seqscan TO off AS $$
DECLARE
    pages bigint;
    -- for every so many pages, one is looked into
    step bigint;
    sampled bigint;
BEGIN
    -- Counting a large log to its bound takes longer than some queries do: where a few of its pages, at even distances, say
    -- that there are more, that is enough. (Near the bound either method costs the same.)
    IF p_most BETWEEN 3000 AND 1000000 THEN
        pages := pg_relation_size(log_table(p_log_id)::regclass) / current_setting('block_size')::integer;
        IF pages >= 32 THEN
            step := pages / 16;
            EXECUTE format('SELECT sum((SELECT count(*) FROM %s
                                        WHERE ctid >= page.first AND ctid < page.beyond AND xid >= $1 AND NOT pg_visible_in_snapshot(xid, $2)))
                            FROM (SELECT format(''(%%s,0)'', n)::tid AS first, format(''(%%s,0)'', n + 1)::tid AS beyond
                                  FROM generate_series($3, $4, $5) AS n) AS page', log_table(p_log_id))
            INTO sampled USING pg_snapshot_xmin(p_snapshot), p_snapshot, step / 2, pages - 1, step;
            RETURN sampled * step > 1.2 * p_most;
        END IF;
    END IF;
    RETURN false;
END $$;
COMMENT ON FUNCTION is_pending_beyond(integer, pg_snapshot, bigint) IS
    'Whether a look into a large log says that certainly more than so many rows of it are of transactions that a snapshot does not see';

CREATE FUNCTION pending_in_log(
    p_log_id integer, p_snapshot pg_snapshot, p_most bigint DEFAULT NULL, OUT pending_rows bigint, OUT is_marked boolean
)
-- By index, or by address, only: a bitmap would hold all of them before the first is counted, and what is not pending need not be read. (The planner
-- takes a fifth of every log for pending.)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET enable_bitmapscan TO off SET enable_seqscan TO off AS $$
BEGIN
    IF is_pending_beyond(p_log_id, p_snapshot, p_most) THEN
        pending_rows := p_most;
        is_marked := false;
        RETURN;
    END IF;
    EXECUTE format('SELECT count(*), coalesce(bool_or(weight = 0), false)
                    FROM (SELECT weight FROM %s WHERE xid >= $1 AND NOT pg_visible_in_snapshot(xid, $2) LIMIT $3) AS pending',
                   log_table(p_log_id))
    INTO pending_rows, is_marked USING pg_snapshot_xmin(p_snapshot), p_snapshot, p_most;
END $$;
COMMENT ON FUNCTION pending_in_log(integer, pg_snapshot, bigint) IS
    'How many rows of a log, of so many at most (or about so many, where there are more), are of transactions that a snapshot does not see, and whether one says that the table was truncated, or may have changed past the log';

CREATE FUNCTION prune_log(p_log_id integer, p_below xid8, p_limit integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    pruned bigint;
BEGIN
    -- not TRUNCATE, which would have to wait for every reader, and writers for it
    EXECUTE format('DELETE FROM %1$s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE xid < $1 ORDER BY xid LIMIT $2))', log_table(p_log_id))
    USING p_below, p_limit;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    IF pruned > 0 THEN
        UPDATE materialized_view_logs SET pruned_below = p_below WHERE log_id = p_log_id AND pruned_below < p_below;
    END IF;
    RETURN pruned;
END $$;
COMMENT ON FUNCTION prune_log(integer, xid8, integer) IS
    'Deletes at most so many rows of transactions below one from a log, the oldest first; returns how many. Less than the limit: done';

CREATE FUNCTION drop_capture(p_log_id integer, p_with_table boolean) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own_messages text := current_setting('client_min_messages');
BEGIN
    PERFORM set_config('client_min_messages', 'warning', true);
    -- DROP TRIGGER is for the table's owner only; the triggers go with their function
    EXECUTE format('DROP FUNCTION IF EXISTS %I.%I() CASCADE', module_schema(), 'capture$' || p_log_id);
    IF p_with_table THEN
        EXECUTE format('DROP VIEW IF EXISTS %I.%I', module_schema(), 'guard$' || p_log_id);
        EXECUTE format('DROP TABLE IF EXISTS %s', log_table(p_log_id));
    END IF;
    PERFORM set_config('client_min_messages', own_messages, true);
END $$;
COMMENT ON FUNCTION drop_capture(integer, boolean) IS 'Drops the triggers of a log with their function, and its table';

CREATE FUNCTION repair_log(p_log_id integer) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    log_row materialized_view_logs;
    needs_table boolean;
BEGIN
    SELECT * INTO STRICT log_row FROM materialized_view_logs WHERE log_id = p_log_id FOR UPDATE;
    IF log_problem(p_log_id) IS NULL THEN
        RETURN 'nothing to do';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = log_row.base_table) THEN
        PERFORM drop_capture(p_log_id, true);
        DELETE FROM materialized_view_logs WHERE log_id = p_log_id;
        RETURN 'dropped the log';
    END IF;
    PERFORM require_loggable(log_row.base_table);
    UPDATE materialized_view_logs l
    SET logged_attnums = array(SELECT u.attnum FROM unnest(log_row.logged_attnums) WITH ORDINALITY u (attnum, n)
                               JOIN pg_attribute a ON a.attrelid = log_row.base_table AND a.attnum = u.attnum AND NOT a.attisdropped ORDER BY n),
        logged_columns = column_names(log_row.base_table, log_row.logged_attnums),
        base_name = qualified_name(log_row.base_table),
        created_xid = pg_current_xact_id()
    WHERE log_id = p_log_id;
    needs_table := log_table_problem(p_log_id) IS NOT NULL;
    IF log_row.incarnation <> own_incarnation() THEN
        -- Transaction ids that were restored may be of the future, and would seem to be pending for ever.
        IF NOT needs_table THEN
            EXECUTE format('DELETE FROM %s', log_table(p_log_id));
        END IF;
        UPDATE materialized_view_logs SET pruned_below = '0', incarnation = own_incarnation() WHERE log_id = p_log_id;
    END IF;
    -- this locks readers out for a moment, too, so only where there is no other way
    IF needs_table OR stray_trigger(p_log_id) IS NOT NULL THEN
        PERFORM drop_capture(p_log_id, needs_table);
    END IF;
    IF needs_table THEN
        PERFORM create_log_table(p_log_id);
        PERFORM grant_logs(mv_id) FROM fast_program_logs WHERE log_id = p_log_id;
    END IF;
    PERFORM create_capture_function(p_log_id);
    PERFORM create_capture_triggers(p_log_id);
    -- what was missed is unknown: who has not seen this transaction is to be refreshed completely
    EXECUTE format('INSERT INTO %s (weight) VALUES (0)', log_table(p_log_id));
    UPDATE materialized_view_logs SET fingerprint = log_fingerprint(p_log_id) WHERE log_id = p_log_id;
    RETURN CASE WHEN needs_table THEN 'made log table and triggers anew' ELSE 'made the triggers anew' END
        || '; what reads the table is refreshed completely next';
END $$;
COMMENT ON FUNCTION repair_log(integer) IS 'Repairs a log that has a problem, and marks it; returns what was done';

CREATE FUNCTION repair_logs(p_lock_timeout_ms integer DEFAULT 2000) RETURNS TABLE (base_table text, problem text, outcome text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    own_timeout text := current_setting('lock_timeout');
    log_row materialized_view_logs;
BEGIN
    FOR log_row IN SELECT * FROM materialized_view_logs l WHERE log_problem(l.log_id) IS NOT NULL ORDER BY l.log_id LOOP
        base_table := coalesce(qualified_name(log_row.base_table), log_row.base_name);
        problem := log_problem(log_row.log_id);
        BEGIN
            PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
            outcome := repair_log(log_row.log_id);
            PERFORM set_config('lock_timeout', own_timeout, true);
        EXCEPTION
            WHEN lock_not_available THEN
                outcome := 'not repaired: the table is in use, try again later';
            WHEN wrong_object_type OR insufficient_privilege THEN
                outcome := 'not repaired: ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION repair_logs(integer) IS
    'Repairs every log that has a problem, drops those whose table is gone; one row each: what was wrong, and what was done';

CREATE FUNCTION is_log_read(p_base oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN EXISTS (SELECT FROM materialized_view_sources WHERE source = p_base);
COMMENT ON FUNCTION is_log_read(oid) IS 'Whether any materialized view reads a table';

CREATE FUNCTION check_logs() RETURNS TABLE (object_kind text, object_name text, status text, remedy text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT 'materialized view log', coalesce(qualified_name(l.base_table), l.base_name), coalesce(p.problem, 'fine'),
           CASE WHEN p.problem IS NOT NULL THEN format('SELECT * FROM %I.repair_logs();', module_schema())
                WHEN NOT is_log_read(l.base_table) THEN
                    format('no materialized view reads it; unless one is to: SELECT %I.drop_materialized_view_log(%L);',
                           module_schema(), qualified_name(l.base_table)) END
    FROM materialized_view_logs l CROSS JOIN LATERAL (SELECT log_problem(l.log_id)) AS p (problem)
$$;
COMMENT ON FUNCTION check_logs() IS 'The part of the self-check about logs; one that nobody reads is fine, with a remark';

CREATE FUNCTION self_check() RETURNS TABLE (object_kind text, object_name text, status text, remedy text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT * FROM check_objects()
    UNION ALL
    SELECT * FROM check_logs()
$$;
COMMENT ON FUNCTION self_check() IS 'Reports every object of the module, every materialized view and every log, as fine or says what is wrong';
