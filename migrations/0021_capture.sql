-- Change capture: one trigger function per log, and statement-level triggers with transition tables that call it.
--
-- A writer must never fail because of a log. The function's statements are kept by sessions and parsed again after DDL, so:
--   * log table: the triggers' WHEN condition refers to the view guard$<log_id> over all columns of the log table. Dropping
--     the log table or a column of it is refused, or takes the triggers with it (CASCADE).
--   * column dropped or retyped: the trigger …_guard names the logged columns (UPDATE OF) and never fires. PostgreSQL
--     refuses to retype its columns, and to drop them without CASCADE. That holds of a disabled trigger, too, at which an
--     UPDATE need not look; but only the table's owner can disable one.
--   * column renamed, or dropped by CASCADE: in the function every column is looked for in the transition table first and,
--     if there is none of that name, in "fallback" (SQL's rule for outer references), whose value is NULL. What is then
--     logged is wrong, which log_problem notices: the catalog row of the column is another one than it was.

CREATE FUNCTION log_table(p_log_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN format('%I.%I', current_schema(), 'log$' || p_log_id);
END $$;
COMMENT ON FUNCTION log_table(integer) IS 'The table of a log';

CREATE FUNCTION images_text(p_log materialized_view_logs, p_rows text, p_weight text, p_expression text DEFAULT 'images.*') RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT format('SELECT %1$s FROM (SELECT %2$s) AS fallback,
            LATERAL (SELECT %3$s FROM %4$s) AS images',
        concat_ws(', ', p_weight, CASE WHEN p_expression <> 'images.*' OR cardinality(p_log.logged_columns) > 0 THEN p_expression END),
        -- typed by the log table's own row: names of types in this text would break when a type is renamed
        (SELECT string_agg(format('(NULL::%s).c%s AS %I', log_table(p_log.log_id), attnum, name), ', ' ORDER BY n)
         FROM unnest(p_log.logged_attnums, p_log.logged_columns) WITH ORDINALITY u (attnum, name, n)),
        (SELECT string_agg(quote_ident(name), ', ' ORDER BY n) FROM unnest(p_log.logged_columns) WITH ORDINALITY u (name, n)),
        p_rows)
$$;
COMMENT ON FUNCTION images_text(materialized_view_logs, text, text, text) IS 'SELECT of the logged columns of a transition table';

CREATE FUNCTION capture_body(p_log materialized_view_logs) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- PostgreSQL 15 to 18 fill transition tables wrongly where a MERGE updates a partitioned table: after a row that it inserted,
    -- the new images of updated rows are that row; rows moved to another partition go to the tables of DELETE and INSERT,
    -- whose triggers fire only if the MERGE has such actions. Such a MERGE is marked, so that a complete refresh follows.
    -- A trigger is not told which command fired it: the client's text and the call stack show it, or show that it can't be
    -- known (EXECUTE, SQL functions, a translated call stack), which is marked as well.
    --
    -- An UPDATE is logged as a whole unless every logged column is as before. Old and new rows come in the same order: if
    -- the first pair differs, which takes no time to see, all is logged by that one statement. Else sums of hashes are
    -- compared, and if these agree, the pairs byte for byte. Pairs that are all equal prove, whatever their order, that
    -- the old images are the new ones; only then is nothing written.
    SELECT format($text$
#variable_conflict use_column
DECLARE
    call_stack text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO %1$s (%2$s)
        %3$s;
    ELSIF TG_OP = 'UPDATE' THEN%11$s
        INSERT INTO %1$s (%2$s)
        SELECT * FROM (
        %4$s
        UNION ALL
        %3$s
        OFFSET 0) AS changes
        WHERE (%5$s LIMIT 1)
            OPERATOR(pg_catalog.*<>) (%6$s LIMIT 1);
        -- apart, as an expression with a query in it is no longer evaluated at once
        IF NOT FOUND THEN
            IF EXISTS (SELECT FROM old_rows) AND (
                (%7$s)
                IS DISTINCT FROM (%8$s)
                OR EXISTS (
                    SELECT FROM (%9$s) AS o (n, image)
                    FULL JOIN (%10$s) AS w (n, image) ON o.n = w.n
                    WHERE (o.image OPERATOR(pg_catalog.*=) w.image) IS NOT TRUE)
            ) THEN
                INSERT INTO %1$s (%2$s)
                %4$s
                UNION ALL
                %3$s;
            END IF;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO %1$s (%2$s)
        %4$s;
    ELSE
        INSERT INTO %1$s (weight) VALUES (0);
    END IF;
    RETURN NULL;
END $text$,
        log_table(p_log.log_id),
        concat_ws(', ', 'weight', (SELECT string_agg('c' || attnum, ', ' ORDER BY n) FROM unnest(p_log.logged_attnums) WITH ORDINALITY u (attnum, n))),
        images_text(p_log, 'new_rows', '1::smallint'),
        images_text(p_log, 'old_rows', '(-1)::smallint'),
        images_text(p_log, 'old_rows', NULL, 'ROW(images.*)'),
        images_text(p_log, 'new_rows', NULL, 'ROW(images.*)'),
        images_text(p_log, 'old_rows', NULL, hashed.expression),
        images_text(p_log, 'new_rows', NULL, hashed.expression),
        images_text(p_log, 'old_rows', 'row_number() OVER ()', 'ROW(images.*)'),
        images_text(p_log, 'new_rows', 'row_number() OVER ()', 'ROW(images.*)'),
        CASE WHEN (SELECT relkind = 'p' FROM pg_class WHERE oid = p_log.base_table) THEN format($text$
        GET DIAGNOSTICS call_stack = PG_CONTEXT;
        -- the first line is about this function itself
        IF concat(current_query(), call_stack) ~* E'merge|execute|\\nSQL function'
           OR (current_setting('lc_messages') !~* '^(C|POSIX|en)' AND call_stack ~ E'\n') THEN
            INSERT INTO %s (weight) VALUES (0);
        END IF;$text$, log_table(p_log.log_id)) END)
    FROM (
        SELECT format('sum(hash_record_extended(ROW(%s), 0))',
                      string_agg(format('images.%I%s', a.attname, CASE WHEN has_hash(a.atttypid) THEN '' ELSE '::text' END), ', ' ORDER BY n)) AS expression
        FROM unnest(p_log.logged_attnums) WITH ORDINALITY u (attnum, n)
        JOIN pg_attribute a ON a.attrelid = p_log.base_table AND a.attnum = u.attnum
    ) hashed
$$;
COMMENT ON FUNCTION capture_body(materialized_view_logs) IS 'The body of the trigger function of a log';

CREATE FUNCTION create_capture_function(p_log_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    log_row materialized_view_logs;
    signature text := format('%I.%I()', module_schema(), 'capture$' || p_log_id);
BEGIN
    SELECT * INTO STRICT log_row FROM materialized_view_logs WHERE log_id = p_log_id;
    EXECUTE format('CREATE OR REPLACE VIEW %I.%I AS SELECT * FROM %s', module_schema(), 'guard$' || p_log_id, log_table(p_log_id));
    EXECUTE format('CREATE OR REPLACE FUNCTION %s RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
                   'SET search_path TO pg_catalog, pg_temp AS %L', signature, capture_body(log_row));
    -- whoever could make it the trigger of a table of their own could write into the log
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('REVOKE ALL ON %s, %I.%I FROM PUBLIC', log_table(p_log_id), module_schema(), 'guard$' || p_log_id);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', signature, 'Logs the changes of ' || log_row.base_name);
END $$;
COMMENT ON FUNCTION create_capture_function(integer) IS 'Generates the trigger function of a log for its columns as they are now';

CREATE FUNCTION capture_trigger(p_log_id integer, p_event text) RETURNS name
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN suffixed_name(module_schema(), format('$%s_%s', p_log_id, p_event));
COMMENT ON FUNCTION capture_trigger(integer, text) IS 'The name of a trigger of a log: insert, update, delete, truncate or guard';

CREATE FUNCTION create_capture_triggers(p_log_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    -- Each of these takes SHARE ROW EXCLUSIVE, which waits for every transaction that has written to the table (they hold
    -- ROW EXCLUSIVE to their end), and lets nobody write before this transaction has ended. A snapshot that sees this
    -- transaction committed was taken later, hence sees all those earlier writes: nothing that went unlogged can be
    -- pending for a view whose last_snapshot sees it. Replacing an existing trigger locks just so.
    log_row materialized_view_logs;
    member_row record;
    event record;
BEGIN
    SELECT * INTO STRICT log_row FROM materialized_view_logs WHERE log_id = p_log_id;
    FOR member_row IN SELECT member FROM log_members(log_row.base_table) ORDER BY depth, member LOOP
        FOR event IN
            SELECT * FROM (VALUES
                ('insert', 'REFERENCING NEW TABLE AS new_rows'),
                ('update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
                ('delete', 'REFERENCING OLD TABLE AS old_rows'),
                ('truncate', '')) AS e (name, transition_tables)
        LOOP
            EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT WHEN (%L::regclass IS NOT NULL) EXECUTE FUNCTION %I.%I()',
                capture_trigger(p_log_id, event.name), event.name, qualified_name(member_row.member), event.transition_tables,
                format('%I.%I', module_schema(), 'guard$' || p_log_id), module_schema(), 'capture$' || p_log_id);
        END LOOP;
    END LOOP;
    IF cardinality(log_row.logged_columns) > 0 THEN
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE OF %s ON %s FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION %I.%I()',
            capture_trigger(p_log_id, 'guard'), (SELECT string_agg(quote_ident(c), ', ') FROM unnest(log_row.logged_columns) c),
            qualified_name(log_row.base_table), module_schema(), 'capture$' || p_log_id);
        IF (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = log_row.base_table) THEN
            EXECUTE format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', qualified_name(log_row.base_table), capture_trigger(p_log_id, 'guard'));
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION create_capture_triggers(integer) IS 'Creates, or makes anew, the triggers of a log on its base table and every partition';

CREATE FUNCTION logged_type(p_attribute pg_attribute) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT
-- without length or precision (-1, as NULL would mean character(1)): a log must take whatever the column takes
RETURN format_type(p_attribute.atttypid, -1)
    || CASE WHEN p_attribute.attcollation <> 0 THEN
           (SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
            FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = p_attribute.attcollation)
       ELSE '' END;
COMMENT ON FUNCTION logged_type(pg_attribute) IS 'The type of a log''s column';

CREATE FUNCTION create_log_table(p_log_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    log_row materialized_view_logs;
BEGIN
    SELECT * INTO STRICT log_row FROM materialized_view_logs WHERE log_id = p_log_id;
    EXECUTE format('CREATE TABLE %s (%s)', log_table(p_log_id), concat_ws(', ',
        'xid xid8 NOT NULL DEFAULT pg_current_xact_id()', 'weight smallint NOT NULL',
        (SELECT string_agg(format('c%s %s', a.attnum, logged_type(a)), ', ' ORDER BY n)
         FROM unnest(log_row.logged_attnums) WITH ORDINALITY u (attnum, n)
         JOIN pg_attribute a ON a.attrelid = log_row.base_table AND a.attnum = u.attnum)));
    EXECUTE format('CREATE INDEX %I ON %s (xid)', 'log$' || p_log_id || '_xid', log_table(p_log_id));
    -- What is pending is newer than any statistics, which would have the planner expect none of it.
    EXECUTE format('ALTER TABLE %s ALTER COLUMN xid SET STATISTICS 0', log_table(p_log_id));
    EXECUTE format('COMMENT ON TABLE %s IS %L', log_table(p_log_id), 'Changes of ' || log_row.base_name);
END $$;
COMMENT ON FUNCTION create_log_table(integer) IS 'Creates the table of a log';

CREATE FUNCTION columns_to_log(p_base regclass, p_columns name[]) RETURNS smallint[]
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    unknown name;
    attnums smallint[];
BEGIN
    SELECT c INTO unknown FROM unnest(p_columns) c
    WHERE NOT EXISTS (SELECT FROM pg_attribute a
                      WHERE a.attrelid = p_base AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v')
    LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION '%', format('column "%s" of %s can not be logged: there is none, or it is virtual', unknown, qualified_name(p_base))
            USING ERRCODE = 'undefined_column';
    END IF;
    SELECT coalesce(array_agg(attnum ORDER BY attnum), '{}') INTO attnums FROM pg_attribute
    WHERE attrelid = p_base AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v' AND (p_columns IS NULL OR attname = ANY (p_columns));
    RETURN attnums;
END $$;
COMMENT ON FUNCTION columns_to_log(regclass, name[]) IS 'The numbers of columns; of all of them without names';

CREATE FUNCTION column_names(p_relation oid, p_attnums smallint[]) RETURNS name[]
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce(array_agg(a.attname ORDER BY n), '{}')
    FROM unnest(p_attnums) WITH ORDINALITY u (attnum, n)
    JOIN pg_attribute a ON a.attrelid = p_relation AND a.attnum = u.attnum AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION column_names(oid, smallint[]) IS 'The names of columns given by number';

CREATE FUNCTION widen_log(p_log_id integer, p_attnums smallint[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    additions text;
BEGIN
    UPDATE materialized_view_logs
    SET logged_attnums = logged_attnums || p_attnums,
        logged_columns = column_names(base_table, logged_attnums || p_attnums)
    WHERE log_id = p_log_id;
    -- writers out first, then the log table: the order in which they lock the two
    PERFORM create_capture_triggers(p_log_id);
    SELECT string_agg(format('ADD COLUMN c%s %s', a.attnum, logged_type(a)), ', ' ORDER BY a.attnum) INTO additions
    FROM materialized_view_logs l JOIN pg_attribute a ON a.attrelid = l.base_table AND a.attnum = ANY (p_attnums)
    WHERE l.log_id = p_log_id;
    EXECUTE format('ALTER TABLE %s %s', log_table(p_log_id), additions);
    PERFORM create_capture_function(p_log_id);
END $$;
COMMENT ON FUNCTION widen_log(integer, smallint[]) IS 'Adds columns to a log; rows logged before lack them';
