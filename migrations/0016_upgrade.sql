-- Upgrades of the user's own schema: all materialized views are dropped while their settings stay, the base tables are
-- changed, and all are made again, with their indexes, constraints, grants and comments.

CREATE FUNCTION keep_settings(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM consume_permit(p_mv_id);
    UPDATE materialized_view_settings s
    SET mv_relation = NULL,
        v_relation = NULL,
        mv_schema = coalesce(live.nspname, s.mv_schema),
        mv_name = coalesce(live.relname, s.mv_name),
        owner = coalesce(live.relowner, s.owner::oid),
        v_schema = coalesce(v.nspname, s.v_schema),
        v_name = coalesce(v.relname, s.v_name),
        kept = jsonb_build_object(
            'definition', CASE WHEN v.relname IS NOT NULL THEN definition_text(s.v_relation) END,
            'extras', CASE WHEN live.relname IS NOT NULL THEN relation_extras(s.mv_relation) ELSE '[]' END)
    FROM materialized_view_settings own
    LEFT JOIN (SELECT c.oid, c.relname, c.relowner, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) AS live
        ON live.oid = own.mv_relation
    LEFT JOIN (SELECT c.oid, c.relname, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) AS v
        ON v.oid = own.v_relation
    WHERE s.mv_id = p_mv_id AND own.mv_id = s.mv_id;
END $$;
COMMENT ON FUNCTION keep_settings(integer) IS 'Notes, for whoever holds a permit, all that is needed to make a materialized view again';

CREATE FUNCTION drop_keeping_settings(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    mv_text text;
    view_text text;
    last_name name;
BEGIN
    -- as in drop_by_id
    PERFORM try_refresh_lock(p_mv_id, true);
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    mv_text := qualified_name(view_row.mv_relation);
    last_name := coalesce((SELECT relname FROM pg_class WHERE oid = view_row.mv_relation), view_row.mv_name);
    -- whoever calls may have rights over views that the owner has not
    view_text := qualified_name(c.oid) FROM pg_class c
        WHERE c.oid = view_row.v_relation AND c.relkind = 'v'
          AND c.relowner IN (view_row.owner, coalesce((SELECT relowner FROM pg_class WHERE oid = view_row.mv_relation), view_row.owner::oid));
    PERFORM take_permit(p_mv_id);
    PERFORM keep_settings(p_mv_id);
    IF mv_text IS NOT NULL THEN
        EXECUTE format('DROP TABLE %s', mv_text);
    END IF;
    IF view_row.view_origin = 'module' AND view_text IS NOT NULL THEN
        EXECUTE format('DROP VIEW %s', view_text);
    ELSIF view_row.view_origin = 'renamed' AND view_text IS NOT NULL THEN
        EXECUTE format('ALTER VIEW %s RENAME TO %I', view_text, last_name);
    END IF;
END $$;
COMMENT ON FUNCTION drop_keeping_settings(integer) IS 'Drops a materialized view for an upgrade; its dictionary row stays';

CREATE FUNCTION recreate_by_id(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    view_relation regclass;
    target text;
    statement text;
BEGIN
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    target := format('%I.%I', view_row.mv_schema, view_row.mv_name);
    IF view_row.view_origin = 'module' THEN
        IF view_row.kept ->> 'definition' IS NULL THEN
            RAISE EXCEPTION 'the query of materialized view "%" was lost with its defining view', view_row.mv_name
                USING ERRCODE = 'undefined_table';
        END IF;
        view_relation := create_defining_view('pg_catalog', view_row.mv_schema, view_row.kept ->> 'definition');
    ELSE
        IF view_row.view_origin = 'renamed' THEN
            IF (SELECT relowner FROM pg_class WHERE oid = existing_view('pg_catalog', target)) <> view_row.owner THEN
                RAISE EXCEPTION 'view "%" now belongs to another role than its materialized view did', target USING ERRCODE = 'insufficient_privilege';
            END IF;
            EXECUTE format('ALTER VIEW %s RENAME TO %I', target, view_row.v_name);
        END IF;
        view_relation := existing_view('pg_catalog', format('%I.%I', view_row.v_schema, view_row.v_name));
    END IF;
    PERFORM create_empty_table(target, view_relation);
    IF view_row.owner <> quote_ident(current_user)::regrole THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %s', target, view_row.owner);
        IF view_row.view_origin = 'module' THEN
            EXECUTE format('ALTER VIEW %s OWNER TO %s', qualified_name(view_relation), view_row.owner);
        END IF;
    END IF;
    FOR statement IN SELECT value FROM jsonb_array_elements_text(view_row.kept -> 'extras') LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM take_permit(p_mv_id);
    PERFORM put_back(p_mv_id, target::regclass, view_relation, view_row.view_origin);
    PERFORM take_permit(p_mv_id);
    PERFORM fill_permitted(p_mv_id);
END $$;
COMMENT ON FUNCTION recreate_by_id(integer) IS 'Makes a materialized view again from its kept dictionary row, and fills it';

CREATE FUNCTION recreate_in_path(p_path text, p_mv_name text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    found_id integer := require_materialized_view(p_path, p_mv_name);
BEGIN
    IF (SELECT kind FROM materialized_view_settings WHERE mv_id = found_id) = 'native' THEN
        RAISE EXCEPTION 'a native MATERIALIZED VIEW is not recreated by this module' USING ERRCODE = 'feature_not_supported';
    END IF;
    IF (SELECT mv_relation FROM materialized_view_settings WHERE mv_id = found_id) IS NOT NULL THEN
        PERFORM drop_keeping_settings(found_id);
    END IF;
    PERFORM recreate_by_id(found_id);
END $$;
COMMENT ON FUNCTION recreate_in_path(text, text) IS 'Drops a materialized view and makes it again from its definition as it is now';

CREATE FUNCTION recreate_materialized_view(mv_name text) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT recreate_in_path(pg_catalog.current_setting('search_path'), mv_name);
END;
COMMENT ON FUNCTION recreate_materialized_view(text) IS
    'Makes a materialized view again from its defining view, e.g. after the view got other columns; settings, indexes and grants stay';

CREATE FUNCTION drop_all(p_keep_settings boolean) RETURNS TABLE (mv_name text, outcome text, error text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    candidate record;
BEGIN
    -- all before the first drop, whose table a refresh of a later one may be waiting to read
    PERFORM try_refresh_lock(mv_id, true)
    FROM (SELECT s.mv_id FROM materialized_view_settings s
          WHERE may_act_for(s.mv_relation, s.owner) ORDER BY s.mv_id) AS ordered;
    FOR candidate IN
        SELECT s.mv_id, shown_name(s) AS full_name
        FROM materialized_view_settings s
        WHERE may_act_for(s.mv_relation, s.owner)
          AND NOT (p_keep_settings AND (s.kind = 'native' OR s.mv_relation IS NULL))
        ORDER BY dependency_level(s.mv_id) DESC, s.mv_id DESC
    LOOP
        mv_name := candidate.full_name;
        BEGIN
            IF p_keep_settings THEN
                PERFORM drop_keeping_settings(candidate.mv_id);
            ELSE
                PERFORM drop_by_id(candidate.mv_id);
            END IF;
            outcome := 'dropped';
            error := NULL;
        EXCEPTION WHEN OTHERS THEN
            outcome := 'failed';
            error := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION drop_all(boolean) IS 'Drops all materialized views of the caller, those above first';

CREATE FUNCTION recreate_all() RETURNS TABLE (mv_name text, outcome text, error text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    candidate record;
    waiting integer[];
    left_over integer[];
    last_round boolean := false;
BEGIN
    SELECT array_agg(s.mv_id ORDER BY s.mv_id) INTO waiting
    FROM materialized_view_settings s
    WHERE s.mv_relation IS NULL AND s.kind = 'table' AND may_act_for(NULL, s.owner);
    -- A materialized view over another can be made when that one is there again. What reads what was lost with the
    -- views, so whatever fails is tried again as long as others succeed.
    WHILE cardinality(waiting) > 0 LOOP
        left_over := '{}';
        FOR candidate IN
            SELECT s.mv_id, shown_name(s) AS full_name
            FROM materialized_view_settings s WHERE s.mv_id = ANY (waiting) ORDER BY s.mv_id
        LOOP
            mv_name := candidate.full_name;
            BEGIN
                PERFORM recreate_by_id(candidate.mv_id);
                outcome := 'recreated';
                error := NULL;
                RETURN NEXT;
            EXCEPTION WHEN OTHERS THEN
                left_over := left_over || candidate.mv_id;
                IF last_round THEN
                    outcome := 'failed';
                    error := SQLERRM;
                    RETURN NEXT;
                END IF;
            END;
        END LOOP;
        EXIT WHEN last_round;
        last_round := left_over = waiting;
        waiting := left_over;
    END LOOP;
END $$;
COMMENT ON FUNCTION recreate_all() IS 'Makes all dropped materialized views of the caller again, and reports those that no longer fit';

CREATE FUNCTION drop_all_materialized_views(keep_settings boolean DEFAULT true)
RETURNS TABLE (mv_name text, outcome text, error text) LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT * FROM drop_all(keep_settings);
END;
COMMENT ON FUNCTION drop_all_materialized_views(boolean) IS
    'Drops all materialized views; with keep_settings their dictionary rows stay and recreate_all_materialized_views makes them again';

CREATE FUNCTION recreate_all_materialized_views()
RETURNS TABLE (mv_name text, outcome text, error text) LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT * FROM recreate_all();
END;
COMMENT ON FUNCTION recreate_all_materialized_views() IS
    'Makes all materialized views that were dropped for an upgrade again and fills them; reports each that no longer fits';
