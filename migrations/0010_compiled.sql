-- Which refresh functions a materialized view has, and when they are made again.

CREATE FUNCTION in_place_body(p_mv oid, p_source text, p_first_part text, p_more_parts text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    mv_text text := qualified_name(p_mv);
    columns name[];
    hashed text[];
    key record;
    null_test text;
    by_hash text;
    by_key text;
BEGIN
    SELECT array_agg(column_name ORDER BY ordinal),
           array_agg(format('%%1$I.%s%s', replace(quote_ident(column_name), '%', '%%'),
                            CASE WHEN has_hash(column_type) THEN '' ELSE '::text' END) ORDER BY ordinal)
    INTO columns, hashed
    FROM relation_columns(p_mv);
    by_hash := difference_by_hash_text(mv_text, p_source, columns, hashed, p_first_part, p_more_parts);
    SELECT * INTO key FROM matching_key(p_mv);
    IF NOT FOUND THEN
        RETURN by_hash;
    END IF;
    -- rows with a NULL in their key have no pair by key: as long as there are such, rows are paired by hash
    SELECT string_agg(format('%I IS NULL', column_name), ' OR ') INTO null_test
    FROM relation_columns(p_mv) WHERE column_name = ANY (key.key_columns) AND NOT is_not_null;
    by_key := difference_by_key_text(mv_text, p_source, columns, key.key_columns, key.key_operators,
                                     key.is_only_unique_index, key.key_index::regclass::text, p_first_part, p_more_parts);
    RETURN CASE
        WHEN null_test IS NULL THEN by_key
        ELSE concat(format($text$
    IF EXISTS (SELECT FROM ONLY %s WHERE %s) THEN$text$, mv_text, null_test), by_hash, $text$
    ELSE$text$, by_key, $text$
    END IF;$text$)
    END;
END $$;
COMMENT ON FUNCTION in_place_body(oid, text, text, text) IS 'The body of the complete refresh in place';

CREATE FUNCTION rebuild_body(p_mv oid, p_source text, p_first_part text, p_more_parts text) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT format($text$
    DECLARE
        index_statements text[];
    BEGIN
        index_statements := %4$I.drop_indexes(%5$L::pg_catalog.regclass);
        TRUNCATE ONLY %1$s;
        WITH %7$sinserted AS (
            INSERT INTO %1$s (%3$s) SELECT %3$s FROM %2$s AS the_query RETURNING 1
        )%6$s
        SELECT pg_current_snapshot(), (SELECT count(*) FROM inserted), 0
        INTO STRICT snapshot, rows_inserted, rows_updated;
        PERFORM %4$I.create_indexes(%5$L::pg_catalog.regclass, index_statements);
        ANALYZE %1$s;
    END;$text$,
        qualified_name(p_mv), p_source,
        (SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal) FROM relation_columns(p_mv)),
        module_schema(), qualified_name(p_mv), p_more_parts, p_first_part)
$$;
COMMENT ON FUNCTION rebuild_body(oid, text, text, text) IS 'The body of the complete refresh that loads an emptied table';

CREATE FUNCTION verify_signature() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT
RETURN 'max_samples integer, OUT snapshot pg_snapshot, OUT rows_compared bigint, OUT rows_missing bigint, '
       'OUT rows_unexpected bigint, OUT missing_samples jsonb, OUT unexpected_samples jsonb';
COMMENT ON FUNCTION verify_signature() IS 'Parameters and results of a comparison';

CREATE FUNCTION verify_body(p_mv oid, p_source text, p_function text, p_tolerance jsonb, p_where text DEFAULT '') RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT format($text$
    WITH query_rows AS MATERIALIZED (
        SELECT %3$s FROM %2$s AS the_query%6$s
    ), %7$s AS MATERIALIZED (
        SELECT %3$s FROM ONLY %1$s%6$s
    )%8$s, missing AS MATERIALIZED (
        SELECT * FROM query_rows EXCEPT ALL SELECT * FROM view_rows
    ), unexpected AS MATERIALIZED (
        SELECT * FROM view_rows EXCEPT ALL SELECT * FROM query_rows
    )
    SELECT pg_current_snapshot(),
           (SELECT count(*) FROM view_rows), (SELECT count(*) FROM missing), (SELECT count(*) FROM unexpected),
           (SELECT jsonb_agg(to_jsonb(%4$I)) FROM (SELECT * FROM missing LIMIT %5$I.max_samples) AS %4$I),
           (SELECT jsonb_agg(to_jsonb(%4$I)) FROM (SELECT * FROM unexpected LIMIT %5$I.max_samples) AS %4$I)
    INTO STRICT snapshot, rows_compared, rows_missing, rows_unexpected, missing_samples, unexpected_samples;$text$,
        qualified_name(p_mv), p_source,
        (SELECT string_agg(
                    CASE WHEN has_equality(column_type) THEN quote_ident(column_name)
                         ELSE format('%1$I::text AS %1$I', column_name) END, ', ' ORDER BY ordinal)
         FROM relation_columns(p_mv)),
        free_alias('a_row', (SELECT array_agg(column_name) FROM relation_columns(p_mv))), p_function, p_where,
        CASE WHEN p_tolerance IS NULL THEN 'view_rows' ELSE 'stored_rows' END,
        -- values that are as right as those of the query are taken for these
        CASE WHEN p_tolerance IS NULL THEN '' ELSE format($text$, bounds AS MATERIALIZED (
        SELECT * FROM (
%1$s
        ) AS of_groups%2$s
    ), view_rows AS MATERIALIZED (
%3$s
    )$text$, p_tolerance ->> 'bounds', p_where, p_tolerance ->> 'rows') END)
$$;
COMMENT ON FUNCTION verify_body(oid, text, text, jsonb, text) IS
    'The body of the comparison of a materialized view with its query, in one snapshot; some columns within a tolerance, if there is one';

CREATE FUNCTION record_sources(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    cyclic text;
BEGIN
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    DELETE FROM materialized_view_sources WHERE mv_id = p_mv_id;
    INSERT INTO materialized_view_sources (mv_id, source)
    SELECT p_mv_id, r.relation
    FROM read_relations(coalesce(view_row.v_relation, view_row.mv_relation)) r
    WHERE r.relkind IN ('r', 'p', 'm', 'f') AND r.relation <> coalesce(view_row.v_relation, view_row.mv_relation);
    WITH RECURSIVE path AS (
        SELECT m.mv_id, ARRAY[p_mv_id, m.mv_id] AS ids
        FROM materialized_view_sources s JOIN materialized_view_settings m ON m.mv_relation = s.source
        WHERE s.mv_id = p_mv_id
        UNION ALL
        SELECT m.mv_id, path.ids || m.mv_id
        FROM path
        JOIN materialized_view_sources s ON s.mv_id = path.mv_id
        JOIN materialized_view_settings m ON m.mv_relation = s.source
        WHERE path.mv_id <> p_mv_id AND m.mv_id <> ALL (path.ids[2:])
    )
    SELECT (SELECT string_agg(format('%I', m.mv_name), ' -> ' ORDER BY n)
            FROM unnest(path.ids) WITH ORDINALITY u (id, n) JOIN materialized_view_settings m ON m.mv_id = u.id)
    INTO cyclic
    FROM path WHERE path.mv_id = p_mv_id LIMIT 1;
    IF cyclic IS NOT NULL THEN
        RAISE EXCEPTION 'materialized view "%" would read itself: %', view_row.mv_name, cyclic
            USING ERRCODE = 'invalid_recursion', HINT = 'Let its query read the base tables instead.';
    END IF;
END $$;
COMMENT ON FUNCTION record_sources(integer) IS 'Notes what a materialized view reads, and refuses a cycle';

CREATE FUNCTION compile_materialized_view(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    views_read oid[];
    source_text text;
    complete_source text;
    difference text;
BEGIN
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    PERFORM require_relations(view_row);
    IF view_row.kind = 'native' THEN
        source_text := '(' || definition_text(view_row.mv_relation) || ')';
        views_read := ARRAY[view_row.mv_relation::oid];
    ELSE
        difference := column_difference(view_row.mv_relation, view_row.v_relation);
        IF difference IS NOT NULL THEN
            RAISE EXCEPTION 'materialized view "%": %', view_row.mv_name, difference
                USING ERRCODE = 'datatype_mismatch',
                      HINT = format('SELECT %I.recreate_materialized_view(%L) makes it again from its defining view.',
                                    module_schema(), qualified_name(view_row.mv_relation));
        END IF;
        IF view_row.view_origin = 'module' THEN
            -- the materialized view may have got another owner, who can't read through a view of the former one
            PERFORM give_to_owner('VIEW', c.relname, pg_get_userbyid(m.relowner))
            FROM pg_class c, pg_class m
            WHERE c.oid = view_row.v_relation AND c.relnamespace = quote_ident(module_schema())::regnamespace AND m.oid = view_row.mv_relation;
        END IF;
        source_text := qualified_name(view_row.v_relation);
        SELECT array_agg(r.relation) INTO views_read FROM read_relations(view_row.v_relation) r WHERE r.relkind = 'v';
    END IF;
    PERFORM record_sources(p_mv_id);
    IF view_row.kind = 'table' THEN
        -- what is kept of the groups tells their rows: the query is computed once
        complete_source := coalesce(state_source(p_mv_id), source_text);
        PERFORM create_refresh_function(p_mv_id, 'complete_in_place',
            'OUT snapshot pg_snapshot, OUT rows_inserted bigint, OUT rows_updated bigint, OUT rows_deleted bigint',
            in_place_body(view_row.mv_relation, complete_source, fresh_state_part(p_mv_id), state_parts(p_mv_id)));
        PERFORM create_refresh_function(p_mv_id, 'complete_rebuild',
            'OUT snapshot pg_snapshot, OUT rows_inserted bigint, OUT rows_updated bigint, OUT rows_deleted bigint',
            rebuild_body(view_row.mv_relation, complete_source, fresh_state_part(p_mv_id), state_parts(p_mv_id)));
        -- for a materialized view whose program is not trusted
        PERFORM create_refresh_function(p_mv_id, 'complete_by_query',
            'OUT snapshot pg_snapshot, OUT rows_inserted bigint, OUT rows_updated bigint, OUT rows_deleted bigint',
            in_place_body(view_row.mv_relation, source_text, fresh_state_part(p_mv_id), state_parts(p_mv_id)));
        PERFORM create_refresh_function(p_mv_id, 'create_indexes', '',
            format('PERFORM %I.create_indexes(%L::pg_catalog.regclass, NULL);', module_schema(), qualified_name(view_row.mv_relation)));
    END IF;
    PERFORM create_refresh_function(p_mv_id, 'verify',
        verify_signature(),
        verify_body(view_row.mv_relation, source_text, 'verify$' || p_mv_id, tolerance_of(view_row.mv_relation)));
    UPDATE materialized_view_state
    SET read_views = coalesce(views_read, '{}'),
        compiled_for = definition_fingerprint(p_mv_id, view_row.mv_relation, view_row.v_relation, views_read)
    WHERE mv_id = p_mv_id;
END $$;
COMMENT ON FUNCTION compile_materialized_view(integer) IS 'Makes the refresh functions of a materialized view from its definition as it is now';

CREATE FUNCTION require_relations(p_view materialized_view_settings) RETURNS void
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    IF p_view.mv_relation IS NULL THEN
        RAISE EXCEPTION 'materialized view "%" is dropped for an upgrade', p_view.mv_name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('SELECT * FROM %I.recreate_all_materialized_views() makes it again.', module_schema());
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = p_view.mv_relation AND relkind IN ('r', 'm')) THEN
        RAISE EXCEPTION 'materialized view "%"."%" has been dropped by hand', p_view.mv_schema, p_view.mv_name
            USING ERRCODE = 'undefined_table',
                  HINT = format('SELECT %1$I.recreate_materialized_view(%2$L) or %1$I.drop_materialized_view(%2$L).', module_schema(),
                                format('%I.%I', p_view.mv_schema, p_view.mv_name));
    END IF;
    IF p_view.kind = 'table' AND NOT EXISTS (SELECT FROM pg_class WHERE oid = p_view.v_relation AND relkind = 'v') THEN
        RAISE EXCEPTION 'the defining view of materialized view "%" has been dropped', p_view.mv_name
            USING ERRCODE = 'undefined_table',
                  HINT = format('Drop the materialized view by %I.drop_materialized_view(%L) and create it again.', module_schema(),
                                format('%I.%I', p_view.mv_schema, p_view.mv_name));
    END IF;
    IF p_view.kind = 'table' AND EXISTS (
            SELECT FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
            WHERE c.oid = p_view.mv_relation AND c.relrowsecurity AND c.relforcerowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls) THEN
        RAISE EXCEPTION 'row security hides rows of materialized view "%" from its owner, who refreshes it', p_view.mv_name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', qualified_name(p_view.mv_relation));
    END IF;
END $$;
COMMENT ON FUNCTION require_relations(materialized_view_settings) IS 'Fails where a relation of a materialized view is gone, saying what to do';

CREATE FUNCTION is_compiled(p_mv_id integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN (
        SELECT t.compiled_for = definition_fingerprint(s.mv_id, s.mv_relation, s.v_relation, t.read_views)
        FROM materialized_view_settings s JOIN materialized_view_state t USING (mv_id)
        WHERE s.mv_id = p_mv_id
    );
END $$;
COMMENT ON FUNCTION is_compiled(integer) IS 'Whether the refresh functions of a materialized view are those of its definition as it is now';

CREATE FUNCTION ensure_compiled(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    is_current boolean;
BEGIN
    is_current := is_compiled(p_mv_id);
    IF is_current IS NOT TRUE THEN
        -- a comparison does not hold the refresh lock, and two at this would end with "tuple concurrently updated"
        PERFORM pg_advisory_xact_lock(module_key(), -p_mv_id);
        is_current := is_compiled(p_mv_id);
    END IF;
    IF is_current IS NOT TRUE THEN
        PERFORM compile_materialized_view(p_mv_id);
    END IF;
END $$;
COMMENT ON FUNCTION ensure_compiled(integer) IS 'Compiles a materialized view again if anything it was compiled from has changed';

CREATE FUNCTION take_in() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    owner_oid oid;
BEGIN
    SELECT relowner INTO owner_oid FROM pg_class WHERE oid = NEW.mv_relation;
    IF owner_oid IS NULL AND TG_OP = 'UPDATE' THEN
        RETURN NULL; -- gone, see forget_stray_numbers
    END IF;
    PERFORM require_membership(owner_oid);
    INSERT INTO materialized_view_state (mv_id, system_identifier, incarnation)
    VALUES (NEW.mv_id, (SELECT system_identifier FROM pg_control_system()), own_incarnation())
    ON CONFLICT (mv_id) DO UPDATE
    -- made again, it is empty as a new one; what a refresh costs is still as good a guess as any
    SET last_refresh = NULL, last_snapshot = NULL, last_method = NULL, last_duration_ms = NULL, last_rows_changed = NULL,
        failures = 0, last_error = NULL, last_error_code = NULL, last_error_at = NULL, retry_at = NULL, suspended_at = NULL,
        system_identifier = excluded.system_identifier, incarnation = excluded.incarnation;
    IF NEW.view_origin = 'module' THEN
        -- the row was written by a user: only a view of the same owner may be moved
        IF NOT EXISTS (SELECT FROM pg_class WHERE oid = NEW.v_relation AND relowner = owner_oid AND relkind = 'v') THEN
            RAISE EXCEPTION 'the defining view and the materialized view must have one owner' USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF (SELECT relnamespace FROM pg_class WHERE oid = NEW.v_relation) <> quote_ident(module_schema())::regnamespace THEN
            EXECUTE format('ALTER VIEW %s SET SCHEMA %I', qualified_name(NEW.v_relation), module_schema());
            EXECUTE format('ALTER VIEW %s RENAME TO %I', qualified_name(NEW.v_relation), 'view$' || NEW.mv_id);
        END IF;
    END IF;
    PERFORM compile_materialized_view(NEW.mv_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION take_in() IS 'Trigger: a new materialized view gets its state and its refresh functions';

CREATE TRIGGER take_in AFTER INSERT ON materialized_view_settings
    FOR EACH ROW WHEN (NEW.mv_relation IS NOT NULL) EXECUTE FUNCTION take_in();
CREATE TRIGGER take_in_again AFTER UPDATE ON materialized_view_settings
    FOR EACH ROW WHEN (NEW.mv_relation IS NOT NULL AND OLD.mv_relation IS DISTINCT FROM NEW.mv_relation)
    EXECUTE FUNCTION take_in();

CREATE FUNCTION let_go() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    function_name text;
BEGIN
    FOR function_name IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc p
        WHERE p.pronamespace = quote_ident(module_schema())::regnamespace
          AND p.proname ~ ('^[a-z_]+\$' || OLD.mv_id || '$') AND p.proname <> 'capture$' || OLD.mv_id
    LOOP
        EXECUTE 'DROP FUNCTION ' || function_name;
    END LOOP;
    PERFORM drop_program_objects(OLD.mv_id);
    DELETE FROM fast_programs WHERE mv_id = OLD.mv_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION let_go() IS 'Trigger: the refresh functions and the state go with their materialized view';

CREATE TRIGGER let_go AFTER DELETE ON materialized_view_settings
    FOR EACH ROW EXECUTE FUNCTION let_go();
CREATE TRIGGER let_go_for_upgrade AFTER UPDATE ON materialized_view_settings
    FOR EACH ROW WHEN (NEW.mv_relation IS NULL AND OLD.mv_relation IS NOT NULL)
    EXECUTE FUNCTION let_go();
