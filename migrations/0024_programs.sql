-- Fast-refresh programs: SQL that the compiler made from a defining view, kept here and wrapped into a function of the
-- owner. Whatever a program was made from has a fingerprint; as soon as that differs, the program is no longer used.

CREATE TABLE fast_programs (
    mv_id integer PRIMARY KEY REFERENCES materialized_view_settings ON DELETE CASCADE,
    -- of everything the compiler read, and of what was made of it, see program_fingerprint; NULL: to be compiled again in any case
    compiled_for text,
    -- of what the rows mean, see meaning_fingerprint
    meaning text NOT NULL,
    -- the revision of the compiler
    compiler integer NOT NULL,
    compiled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- a refresh may use the program only if this transaction is visible in last_snapshot: rows and state are of an
    -- older meaning before
    installed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- why there is no fast refresh: the clause, and what is wrong with it; then the rest is NULL
    refused_clause text,
    refused_reason text,
    -- the statements of the function fast$<mv_id>
    body text,
    -- the tables beside the materialized view, state$<mv_id> and so on, as an array in their order: table (its name), definition
    -- (how it is made), columns (quoted), rows (the query whose rows it holds; it may read fresh_state_<n>, the rows of one before
    -- it), and difference (how these rows, as fresh_state_<n>, differ from the stored ones)
    states jsonb,
    -- the rows of the materialized view as told from all of these
    state_outputs text,
    -- how its rows are compared with those of the query, where not to the last digit, as an object: columns (those that are not), keys
    -- (the columns by which rows are found), bounds (a query of the keys and of the bounds of each of those columns), and rows (a query
    -- of stored_rows, with the values of query_rows in place of those within bounds)
    tolerance jsonb,
    -- the index by which stored rows are found, and its name as it was created
    row_index_definition text,
    row_index name,
    -- how, in words, for explain
    plan jsonb,
    CHECK ((body IS NULL) = (refused_reason IS NOT NULL))
);
COMMENT ON TABLE fast_programs IS 'One row per materialized view that was compiled: its fast refresh, or why there is none';

CREATE TABLE fast_program_logs (
    mv_id integer NOT NULL REFERENCES fast_programs ON DELETE CASCADE,
    log_id integer NOT NULL,
    -- the columns that are read, by number
    attnums smallint[] NOT NULL,
    PRIMARY KEY (mv_id, log_id)
);
CREATE INDEX fast_program_logs_log_id ON fast_program_logs (log_id);
COMMENT ON TABLE fast_program_logs IS 'Which logs the fast refresh of a materialized view reads';

CREATE FUNCTION bypasses_row_security(p_role oid, p_relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    is_bypassed boolean;
BEGIN
    -- runs with every refresh: PL/pgSQL, which keeps the plan
    SELECT NOT c.relrowsecurity OR r.rolsuper OR r.rolbypassrls
        OR (pg_has_role(p_role, c.relowner, 'USAGE') AND NOT c.relforcerowsecurity)
    FROM pg_class c, pg_roles r
    WHERE c.oid = p_relation AND r.oid = p_role
    INTO is_bypassed;
    RETURN is_bypassed;
END $$;
COMMENT ON FUNCTION bypasses_row_security(oid, oid) IS 'Whether row security hides no rows of a relation from a role';

CREATE FUNCTION meaning_fingerprint(p_mv_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    -- as an array, by which indexes of the catalog are used whatever is estimated
    sources oid[] := array(SELECT source FROM materialized_view_sources WHERE mv_id = p_mv_id);
BEGIN
    -- By catalog row: a replaced view has a new rule, a replaced function a new xmin. What is built in does not change
    -- but with the server's version.
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN (
        SELECT md5(concat_ws(' ',
            current_setting('server_version_num')::integer / 10000,
            s.session_settings,
            (SELECT string_agg(concat_ws(':', w.oid, w.xmin), ',' ORDER BY w.oid) FROM pg_rewrite w WHERE w.ev_class = ANY (t.read_views)),
            (SELECT string_agg(concat_ws(':', p.oid, p.xmin, p.provolatile), ',' ORDER BY p.oid)
             FROM pg_proc p WHERE p.oid = ANY (c.called)),
            -- the text of an enumeration's value is that of its label, which can be renamed
            (SELECT string_agg(concat_ws(':', e.oid, e.enumlabel), ',' ORDER BY e.oid)
             FROM pg_attribute a
             JOIN pg_type y ON y.oid = a.atttypid
             JOIN pg_enum e ON e.enumtypid = ANY (ARRAY[y.oid, y.typelem, y.typbasetype])
             WHERE a.attrelid = ANY (sources) AND a.attnum > 0 AND a.atttypid >= 16384),
            (SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation), ',' ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = s.mv_relation AND a.attnum > 0 AND NOT a.attisdropped)))
        FROM materialized_view_settings s JOIN materialized_view_state t USING (mv_id)
        CROSS JOIN LATERAL (SELECT called_functions(t.read_views) AS called OFFSET 0) AS c
        WHERE s.mv_id = p_mv_id
    );
END $$;
COMMENT ON FUNCTION meaning_fingerprint(integer) IS 'Changes whenever the rows of a materialized view may have come to mean something else';

CREATE FUNCTION inputs_fingerprint(p_mv_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    result text;
    -- as an array, by which indexes of the catalog are used whatever is estimated
    sources oid[] := array(SELECT source FROM materialized_view_sources WHERE mv_id = p_mv_id);
    is_refused boolean := EXISTS (SELECT FROM fast_programs WHERE mv_id = p_mv_id AND refused_reason IS NOT NULL);
BEGIN
    -- Runs with every fast refresh: PL/pgSQL, which keeps the plan.
    SELECT md5(concat_ws(' ', meaning_fingerprint(p_mv_id), c.relnamespace, c.relname, c.relowner,
        (SELECT string_agg(concat_ws(':', b.oid, b.relname, b.relnamespace, b.relkind, b.relpersistence, b.relhassubclass, b.relispartition,
                                     b.relrowsecurity AND NOT bypasses_row_security(c.relowner, b.oid),
                                     has_table_privilege(c.relowner, b.oid, 'SELECT'), has_schema_privilege(c.relowner, b.relnamespace, 'USAGE'),
                                     has_table_privilege(b.oid, 'TRIGGER'),
                                     -- of a log that there is, log_problem knows more
                                     CASE WHEN is_refused THEN log_refusal(b.oid) END), ',' ORDER BY b.oid)
         FROM pg_class b WHERE b.oid = ANY (sources)),
        (SELECT string_agg(concat_ws(':', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod,
                                     a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
                                                                      AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated),
                                     a.attcollation, a.attgenerated,
                                     CASE WHEN a.attacl IS NOT NULL THEN has_column_privilege(c.relowner, a.attrelid, a.attnum, 'SELECT') END),
                           ',' ORDER BY a.attrelid, a.attnum)
         FROM pg_attribute a WHERE a.attrelid = ANY (sources) AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT string_agg(concat_ws(':', i.indexrelid, i.indisunique, i.indimmediate, i.indisvalid), ',' ORDER BY i.indexrelid)
         FROM pg_index i WHERE i.indrelid = ANY (sources) AND i.indisunique)))
    INTO result
    FROM materialized_view_settings s JOIN pg_class c ON c.oid = s.mv_relation
    WHERE s.mv_id = p_mv_id;
    RETURN result;
END $$;
COMMENT ON FUNCTION inputs_fingerprint(integer) IS 'Changes whenever anything changes that the compiler reads';

CREATE FUNCTION program_fingerprint(p_mv_id integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    result text;
    -- as an array, by which the index of the catalog is used whatever is estimated
    state_tables name[] := array(SELECT s ->> 'table' FROM fast_programs f, jsonb_array_elements(f.states) s WHERE f.mv_id = p_mv_id);
BEGIN
    SELECT md5(concat_ws(' ', inputs_fingerprint(p_mv_id),
        (SELECT string_agg(concat_ws(':', p.oid, p.xmin), ',' ORDER BY p.oid)
         FROM pg_proc p WHERE p.proname = 'fast$' || p_mv_id AND p.pronamespace = quote_ident(current_schema())::regnamespace),
        -- emptied by hand, it is another file
        (SELECT string_agg(concat_ws(':', t.oid, t.relowner, t.relpersistence, pg_relation_filenode(t.oid), t.relrowsecurity AND t.relforcerowsecurity), ',' ORDER BY t.oid)
         FROM pg_class t WHERE t.relname = ANY (state_tables) AND t.relnamespace = quote_ident(current_schema())::regnamespace),
        (SELECT i.indisvalid
         FROM fast_programs f JOIN pg_class x ON x.relname = f.row_index AND x.relnamespace = c.relnamespace
         JOIN pg_index i ON i.indexrelid = x.oid AND i.indrelid = c.oid WHERE f.mv_id = p_mv_id)))
    INTO result
    FROM materialized_view_settings s JOIN pg_class c ON c.oid = s.mv_relation
    WHERE s.mv_id = p_mv_id;
    RETURN result;
END $$;
COMMENT ON FUNCTION program_fingerprint(integer) IS 'Changes whenever the fast refresh of a materialized view has to be compiled again';

CREATE FUNCTION programs_to_compile(p_compiler integer) RETURNS TABLE (mv_id integer, mv_name text)
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    SELECT s.mv_id, shown_name(s)
    FROM materialized_view_settings s
    LEFT JOIN fast_programs f ON f.mv_id = s.mv_id
    WHERE s.kind = 'table' AND s.mv_relation IS NOT NULL
      AND EXISTS (SELECT FROM pg_class c WHERE c.oid = s.mv_relation)
      AND (s.refresh_method <> 'complete' OR f.mv_id IS NOT NULL)
      AND (f.mv_id IS NULL OR f.compiler < p_compiler OR f.compiled_for IS NULL
           -- the user wants complete refreshes now, or no longer
           OR (s.refresh_method = 'complete') <> (f.refused_clause IS NOT DISTINCT FROM 'refresh_method'))
    ORDER BY s.mv_id
$$;
COMMENT ON FUNCTION programs_to_compile(integer) IS 'Materialized views whose fast refresh is yet to be compiled, or no longer fits';

CREATE FUNCTION fresh_state_part(p_mv_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- part of a complete refresh's own statement: state and rows are of one snapshot
    SELECT coalesce(string_agg(format($text$fresh_state_%1$s AS MATERIALIZED (
        -- what a fast refresh needs to know beside the rows
%2$s
    ), $text$, n, s ->> 'rows'), '' ORDER BY n), '')
    FROM fast_programs f CROSS JOIN jsonb_array_elements(f.states) WITH ORDINALITY AS u (s, n)
    WHERE f.mv_id = p_mv_id
$$;
COMMENT ON FUNCTION fresh_state_part(integer) IS 'The parts of a complete refresh that compute the rows of the state tables, if there are any';

CREATE FUNCTION state_source(p_mv_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT format($text$(
        SELECT %1$s FROM (
%2$s
        ) AS told
    )$text$,
        (SELECT string_agg(format('told.%1$I::%2$s AS %1$I', column_name, format_type(column_type, type_modifier)), ', ' ORDER BY ordinal)
         FROM relation_columns(s.mv_relation)),
        f.state_outputs)
    FROM fast_programs f JOIN materialized_view_settings s USING (mv_id)
    WHERE f.mv_id = p_mv_id AND f.state_outputs IS NOT NULL
$$;
COMMENT ON FUNCTION state_source(integer) IS 'The rows of a query told from those of its state table, for FROM; NULL if there is no such table';

CREATE FUNCTION state_parts(p_mv_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce(string_agg(format($text$, state_difference_%1$s AS MATERIALIZED (
        -- only groups that differ are written
%5$s
    ), emptied_state_%1$s AS (
        DELETE FROM ONLY %2$I.%3$I AS stored USING state_difference_%1$s AS difference WHERE stored.ctid = difference.state_address RETURNING 1
    ), filled_state_%1$s AS (
        INSERT INTO %2$I.%3$I (%4$s)
        SELECT %4$s FROM state_difference_%1$s CROSS JOIN (SELECT count(*) FROM emptied_state_%1$s) AS deletions WHERE is_fresh
    )$text$, n, module_schema(), s ->> 'table', (SELECT string_agg(c, ', ') FROM jsonb_array_elements_text(s -> 'columns') c), s ->> 'difference'),
        '' ORDER BY n), '')
    FROM fast_programs f CROSS JOIN jsonb_array_elements(f.states) WITH ORDINALITY AS u (s, n)
    WHERE f.mv_id = p_mv_id
$$;
COMMENT ON FUNCTION state_parts(integer) IS 'The parts of a complete refresh that make the state tables equal what was computed for them, if there are any';

CREATE FUNCTION tolerance_of(p_mv oid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT f.tolerance FROM fast_programs f JOIN materialized_view_settings s USING (mv_id) WHERE s.mv_relation = p_mv
$$;
COMMENT ON FUNCTION tolerance_of(oid) IS 'How the rows of a materialized view are compared with those of its query, where not to the last digit';

CREATE FUNCTION ensure_comparable(p_mv_id integer) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM ensure_compiled(p_mv_id);
    IF NOT EXISTS (SELECT FROM fast_programs WHERE mv_id = p_mv_id AND tolerance IS NOT NULL AND compiled_for IS DISTINCT FROM program_fingerprint(p_mv_id)) THEN
        RETURN true;
    END IF;
    -- its bounds may be those of another query, or name what there is no longer
    PERFORM pg_advisory_xact_lock(module_key(), -p_mv_id);
    UPDATE fast_programs SET tolerance = NULL, compiled_for = NULL WHERE mv_id = p_mv_id;
    PERFORM compile_materialized_view(p_mv_id);
    RETURN false;
END $$;
COMMENT ON FUNCTION ensure_comparable(integer) IS
    'Makes sure that a materialized view can be compared with its query; whether that is as exact as it can be, until it is compiled again';

CREATE FUNCTION create_row_index(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    program fast_programs;
    relation regclass := (SELECT mv_relation FROM materialized_view_settings WHERE mv_id = p_mv_id);
    before oid[] := array(SELECT indexrelid FROM pg_index WHERE indrelid = relation);
BEGIN
    SELECT * INTO STRICT program FROM fast_programs WHERE mv_id = p_mv_id;
    -- as the owner, who need not be able to create anything else there
    PERFORM create_refresh_function(p_mv_id, 'row_index', '', format('EXECUTE %L;', program.row_index_definition));
    PERFORM run_refresh_function('row_index', p_mv_id);
    EXECUTE format('DROP FUNCTION %I.%I()', module_schema(), 'row_index$' || p_mv_id);
    UPDATE fast_programs f
    SET row_index = (SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                     WHERE i.indrelid = relation AND i.indexrelid <> ALL (before))
    WHERE mv_id = p_mv_id;
END $$;
COMMENT ON FUNCTION create_row_index(integer) IS 'Creates the index by which a fast refresh finds stored rows';

CREATE FUNCTION drop_row_index(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    index_name text;
BEGIN
    SELECT format('%I.%I', n.nspname, x.relname) INTO index_name
    FROM materialized_view_settings s
    JOIN fast_programs f USING (mv_id)
    JOIN pg_index i ON i.indrelid = s.mv_relation
    JOIN pg_class x ON x.oid = i.indexrelid AND x.relname = f.row_index
    JOIN pg_namespace n ON n.oid = x.relnamespace
    WHERE s.mv_id = p_mv_id;
    IF FOUND THEN
        EXECUTE 'DROP INDEX ' || index_name;
    END IF;
END $$;
COMMENT ON FUNCTION drop_row_index(integer) IS 'Drops the index by which a fast refresh found stored rows';

CREATE FUNCTION drop_program_objects(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    schema_oid oid := quote_ident(module_schema())::regnamespace;
    state_table name;
    function regprocedure;
BEGIN
    FOR state_table IN SELECT relname FROM pg_class WHERE relnamespace = schema_oid AND relkind = 'r' AND relname ~ ('^state\$' || p_mv_id || '(_\d+)?$') LOOP
        EXECUTE format('DROP TABLE %I.%I', module_schema(), state_table);
    END LOOP;
    FOR function IN SELECT oid FROM pg_proc WHERE proname = 'fast$' || p_mv_id AND pronamespace = schema_oid LOOP
        EXECUTE format('DROP FUNCTION %s', function);
    END LOOP;
END $$;
COMMENT ON FUNCTION drop_program_objects(integer) IS 'Drops the function and the state tables of a fast refresh';

CREATE FUNCTION grant_logs(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    statement text;
BEGIN
    -- column by column: another materialized view's owner may be allowed to read more
    FOR statement IN
        SELECT format('GRANT SELECT (%s) ON %s TO %I',
                      concat_ws(', ', 'xid', 'weight', (SELECT string_agg('c' || a, ', ') FROM unnest(l.attnums) a)), log_table(l.log_id),
                      pg_get_userbyid(c.relowner))
        FROM fast_program_logs l
        JOIN materialized_view_settings s USING (mv_id)
        JOIN pg_class c ON c.oid = s.mv_relation
        WHERE l.mv_id = p_mv_id AND pg_get_userbyid(c.relowner) <> current_user
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;
COMMENT ON FUNCTION grant_logs(integer) IS 'Lets the owner of a materialized view read what its fast refresh needs of the logs';

CREATE FUNCTION missing_privilege(p_mv_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- a fast refresh reads base tables and logs as the owner, not through the views of others
    SELECT format('"%s" may not read column "%s" of %s itself', pg_get_userbyid(c.relowner), a.attname, qualified_name(g.base_table))
    FROM fast_program_logs l
    JOIN materialized_view_logs g USING (log_id)
    JOIN materialized_view_settings s USING (mv_id)
    JOIN pg_class c ON c.oid = s.mv_relation
    JOIN pg_class b ON b.oid = g.base_table
    JOIN pg_attribute a ON a.attrelid = g.base_table AND a.attnum = ANY (l.attnums)
    WHERE l.mv_id = p_mv_id
      AND NOT (has_schema_privilege(c.relowner, b.relnamespace, 'USAGE') AND has_column_privilege(c.relowner, a.attrelid, a.attnum, 'SELECT'))
    ORDER BY l.log_id, a.attnum LIMIT 1
$$;
COMMENT ON FUNCTION missing_privilege(integer) IS 'What the owner of a materialized view may not read of the base tables of its fast refresh, in words, or NULL';

CREATE FUNCTION record_refusal(p_mv_id integer, p_compiler integer, p_clause text, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM ensure_compiled(p_mv_id);
    PERFORM drop_row_index(p_mv_id);
    DELETE FROM fast_programs WHERE mv_id = p_mv_id;
    PERFORM drop_program_objects(p_mv_id);
    INSERT INTO fast_programs (mv_id, compiled_for, meaning, compiler, refused_clause, refused_reason)
    VALUES (p_mv_id, NULL, meaning_fingerprint(p_mv_id), p_compiler, p_clause, p_reason);
    PERFORM compile_materialized_view(p_mv_id);
    UPDATE fast_programs SET compiled_for = program_fingerprint(p_mv_id) WHERE mv_id = p_mv_id;
END $$;
COMMENT ON FUNCTION record_refusal(integer, integer, text, text) IS 'Notes why a materialized view can not be refreshed fast';

CREATE FUNCTION install_program(
    p_mv_id integer, p_compiler integer, p_inputs text, p_body text, p_settings text[], p_reads_settings boolean, p_logs jsonb,
    p_row_index text, p_state jsonb, p_tolerance jsonb, p_plan jsonb
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    former fast_programs;
    program fast_programs;
    owner_name name := (SELECT pg_get_userbyid(c.relowner) FROM materialized_view_settings s JOIN pg_class c ON c.oid = s.mv_relation WHERE s.mv_id = p_mv_id);
    is_same boolean;
    problem text;
    state jsonb;
BEGIN
    -- against a refresh, which uses what is replaced here
    IF NOT try_refresh_lock(p_mv_id, false) THEN
        RETURN 'busy';
    END IF;
    PERFORM ensure_compiled(p_mv_id);
    IF p_inputs IS DISTINCT FROM inputs_fingerprint(p_mv_id) THEN
        RETURN 'changed';
    END IF;
    SELECT * INTO former FROM fast_programs WHERE mv_id = p_mv_id;
    program.mv_id := p_mv_id;
    program.meaning := meaning_fingerprint(p_mv_id);
    program.compiler := p_compiler;
    program.body := p_body;
    program.plan := p_plan;
    program.row_index_definition := p_row_index;
    program.states := p_state -> 'tables';
    program.state_outputs := p_state ->> 'outputs';
    program.tolerance := p_tolerance;
    program.compiled_at := clock_timestamp();
    is_same := former.meaning = program.meaning AND former.body = program.body
        AND former.states IS NOT DISTINCT FROM program.states
        AND (program.states IS NULL OR former.compiled_for = program_fingerprint(p_mv_id));
    program.installed_xid := CASE WHEN is_same THEN former.installed_xid ELSE pg_current_xact_id() END;
    IF former.row_index_definition IS DISTINCT FROM p_row_index THEN
        PERFORM drop_row_index(p_mv_id);
    ELSE
        program.row_index := former.row_index;
    END IF;
    DELETE FROM fast_programs WHERE mv_id = p_mv_id;
    INSERT INTO fast_programs SELECT program.*;
    INSERT INTO fast_program_logs (mv_id, log_id, attnums)
    SELECT p_mv_id, (l ->> 'log_id')::integer, array(SELECT jsonb_array_elements_text(l -> 'attnums')::smallint)
    FROM jsonb_array_elements(p_logs) l;
    problem := missing_privilege(p_mv_id);
    IF problem IS NOT NULL THEN
        PERFORM record_refusal(p_mv_id, p_compiler, 'privileges', problem);
        RETURN problem;
    END IF;
    PERFORM grant_logs(p_mv_id);
    IF is_same IS NOT TRUE THEN
        PERFORM drop_program_objects(p_mv_id);
        FOR state IN SELECT s FROM jsonb_array_elements(program.states) s LOOP
            EXECUTE state ->> 'definition';
            PERFORM give_to_owner('TABLE', state ->> 'table', owner_name);
        END LOOP;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                   JOIN materialized_view_settings s ON s.mv_relation = i.indrelid AND s.mv_id = p_mv_id
                   WHERE x.relname = program.row_index) AND p_row_index IS NOT NULL THEN
        PERFORM create_row_index(p_mv_id);
    END IF;
    PERFORM create_refresh_function(p_mv_id, 'fast',
        'watermark pg_snapshot, most bigint, OUT snapshot pg_snapshot, OUT rows_inserted bigint, OUT rows_updated bigint, OUT rows_deleted bigint, '
        'OUT rows_missing bigint, OUT must_complete boolean, OUT pending_rows bigint',
        p_body, array_to_string(p_settings, E'\n'), p_reads_settings);
    -- the complete refresh fills the state
    PERFORM compile_materialized_view(p_mv_id);
    UPDATE fast_programs SET compiled_for = program_fingerprint(p_mv_id) WHERE mv_id = p_mv_id;
    RETURN 'installed';
END $$;
COMMENT ON FUNCTION install_program(integer, integer, text, text, text[], boolean, jsonb, text, jsonb, jsonb, jsonb) IS
    'Makes a compiled program the fast refresh of a materialized view; installed, busy, changed (compile again), or why it can not be';
