-- The SQL interface. The functions that users call have no search_path of their own, so that names mean what they mean to
-- the caller; their bodies are parsed once, at installation (BEGIN ATOMIC), so that no search_path can bend them. What
-- they call does the work in the caller's name, with the caller's rights.

CREATE FUNCTION create_empty_table(p_target text, p_view regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- room in each page: where a refresh updates a row, its new version stays there and indexes need no new entry
    EXECUTE format('CREATE TABLE %s WITH (fillfactor = 90) AS SELECT * FROM %s WITH NO DATA', p_target, qualified_name(p_view));
END $$;
COMMENT ON FUNCTION create_empty_table(text, regclass) IS 'Creates the table of a materialized view, without rows';

CREATE FUNCTION create_in_path(
    p_path text, p_mv_name text, p_query text, p_view_name text, p_rate integer, p_cron text, p_time_zone text,
    p_method text, p_form text, p_group text, p_with_data boolean, p_takes_name boolean DEFAULT false
) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    parts text[] := parse_name(p_mv_name);
    target_schema name := schema_in_path(p_path, p_mv_name);
    target_name name := parts[cardinality(parts)];
    target text := format('%I.%I', target_schema, target_name);
    origin text := CASE WHEN p_takes_name THEN 'renamed' WHEN p_query IS NULL THEN 'user' ELSE 'module' END;
    existing regclass := to_regclass(target);
    view_relation regclass;
    new_id integer;
BEGIN
    IF existing IS NOT NULL THEN
        IF EXISTS (SELECT FROM materialized_view_settings WHERE mv_relation = existing) THEN
            RAISE EXCEPTION 'Materialized view % already exists.', target_name USING ERRCODE = 'duplicate_table';
        END IF;
        RAISE EXCEPTION 'a relation % already exists', target
            USING ERRCODE = 'duplicate_table', HINT = 'Choose another name for the materialized view.';
    END IF;
    IF NOT has_schema_privilege(target_schema, 'CREATE') THEN
        RAISE EXCEPTION 'role "%" may not create in schema "%"', current_user, target_schema
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('As its owner: GRANT CREATE ON SCHEMA %I TO %I;', target_schema, current_user);
    END IF;
    IF (p_query IS NULL) = (p_view_name IS NULL) THEN
        RAISE EXCEPTION 'materialized view "%" needs either a query or the name of a view', target_name
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    view_relation := CASE WHEN p_query IS NULL THEN existing_view(p_path, p_view_name)
                          ELSE create_defining_view(p_path, target_schema, p_query) END;
    -- what was dropped by hand is not kept for anything
    PERFORM drop_by_id(s.mv_id) FROM materialized_view_settings s
    WHERE s.mv_schema = target_schema AND s.mv_name = target_name AND s.mv_relation IS NOT NULL AND s.view_origin <> 'renamed'
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.mv_relation AND c.relkind IN ('r', 'm', 'p')) AND may_act_for(NULL, s.owner);
    IF NOT EXISTS (SELECT FROM relation_columns(view_relation)) THEN
        RAISE EXCEPTION 'the query of materialized view "%" returns no columns', target_name USING ERRCODE = 'invalid_table_definition';
    END IF;
    PERFORM create_empty_table(target, view_relation);

    -- settings kept from before an upgrade win over those of a creating script
    SELECT mv_id INTO new_id FROM materialized_view_settings
    WHERE mv_relation IS NULL AND mv_schema = target_schema AND mv_name = target_name AND owner = quote_ident(current_user)::regrole;
    IF new_id IS NOT NULL THEN
        PERFORM take_permit(new_id);
        PERFORM put_back(new_id, target::regclass, view_relation, origin);
    ELSE
        INSERT INTO materialized_view_settings (
            mv_relation, v_relation, mv_schema, mv_name, v_schema, v_name, view_origin, refresh_rate_in_sec, refresh_cron,
            refresh_time_zone, refresh_method, complete_form, refresh_group, session_settings)
        SELECT target::regclass, view_relation, target_schema, target_name, n.nspname, c.relname,
               origin, p_rate, p_cron,
               p_time_zone, p_method, p_form, p_group, kept_session_settings()
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = view_relation
        RETURNING mv_id INTO new_id;
    END IF;
    IF p_with_data THEN
        PERFORM take_permit(new_id);
        PERFORM fill_permitted(new_id);
    END IF;
    RETURN new_id;
END $$;
COMMENT ON FUNCTION create_in_path(text, text, text, text, integer, text, text, text, text, text, boolean, boolean) IS
    'Creates a materialized view with the names of a search_path';

CREATE FUNCTION fill_permitted(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM consume_permit(p_mv_id);
    -- its group is not needed for a first fill, and READ COMMITTED will do
    PERFORM perform_refresh(p_mv_id, 'create', p_wait => true);
END $$;
COMMENT ON FUNCTION fill_permitted(integer) IS 'Fills a new materialized view for whoever holds a permit';

CREATE FUNCTION put_back(p_mv_id integer, p_mv_relation regclass, p_v_relation regclass, p_view_origin text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
BEGIN
    PERFORM consume_permit(p_mv_id);
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id AND mv_relation IS NULL;
    -- the permit is for what belongs to this owner, nobody else's table
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = p_mv_relation AND relkind = 'r' AND relowner = view_row.owner) THEN
        RAISE EXCEPTION 'materialized view "%" is not made again by this table', view_row.mv_name USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE materialized_view_settings
    SET mv_relation = p_mv_relation, v_relation = p_v_relation, view_origin = p_view_origin, kept = NULL
    WHERE mv_id = p_mv_id;
END $$;
COMMENT ON FUNCTION put_back(integer, regclass, regclass, text) IS 'Gives a dictionary row that was kept for an upgrade its new table, for whoever holds a permit';

CREATE FUNCTION existing_view(p_path text, p_view_name text) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    relation regclass := relation_in_path(p_path, p_view_name);
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION 'view "%" does not exist', p_view_name USING ERRCODE = 'undefined_table';
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = relation) <> 'v' THEN
        RAISE EXCEPTION '"%" is not a view', p_view_name
            USING ERRCODE = 'wrong_object_type', HINT = 'Give the query itself, or create a view of it first.';
    END IF;
    RETURN relation;
END $$;
COMMENT ON FUNCTION existing_view(text, text) IS 'The view that a name means in a search_path; anything else is an error';

CREATE FUNCTION create_defining_view(p_path text, p_schema name, p_query text) RETURNS regclass
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    -- only until it is moved to the module schema
    view_name text := format('%I.%I', p_schema, 'new_view$' || pg_current_xact_id());
BEGIN
    PERFORM set_config('search_path', p_path, true);
    -- in parentheses, so that nothing but a query fits; whoever gets round that does it in their own name
    EXECUTE pg_catalog.concat('CREATE VIEW ', view_name, E' AS (\n', pg_catalog.regexp_replace(p_query, '\s*;\s*$', ''), E'\n)');
    PERFORM pg_catalog.set_config('search_path', own_path, true);
    RETURN to_regclass(view_name);
END $$;
COMMENT ON FUNCTION create_defining_view(text, name, text) IS 'Makes a query the defining view of a new materialized view';

CREATE FUNCTION create_as_in_path(p_path text, p_view_name text, p_rate integer) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    relation regclass := existing_view(p_path, p_view_name);
    view_schema name;
    view_name name;
    new_name name;
    new_id integer;
    statement text;
BEGIN
    SELECT n.nspname, c.relname INTO view_schema, view_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    new_name := suffixed_name(view_name, '_mt_base');
    EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', view_schema, view_name, new_name);
    new_id := create_in_path(p_path, format('%I.%I', view_schema, view_name), NULL, format('%I.%I', view_schema, new_name),
                             p_rate, NULL, NULL, 'auto', 'in_place', NULL, true, p_takes_name => true);
    -- whoever could read the view can read what now bears its name
    FOR statement IN
        SELECT format('GRANT SELECT ON %s TO %s', qualified_name(s.mv_relation),
                      CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
        FROM materialized_view_settings s, pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g
        WHERE s.mv_id = new_id AND c.oid = relation AND g.privilege_type = 'SELECT' AND g.grantee <> c.relowner
    LOOP
        EXECUTE statement;
    END LOOP;
    RETURN new_id;
END $$;
COMMENT ON FUNCTION create_as_in_path(text, text, integer) IS 'Renames a view and gives its name to the materialized view made from it';

CREATE FUNCTION adopt_in_path(p_path text, p_name text, p_rate integer, p_cron text, p_time_zone text) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    relation regclass := relation_in_path(p_path, p_name);
    new_id integer;
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION 'materialized view "%" does not exist', p_name USING ERRCODE = 'undefined_table';
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = relation) <> 'm' THEN
        RAISE EXCEPTION '"%" is not a native MATERIALIZED VIEW', p_name USING ERRCODE = 'wrong_object_type';
    END IF;
    IF EXISTS (SELECT FROM materialized_view_settings WHERE mv_relation = relation) THEN
        RAISE EXCEPTION 'materialized view "%" is adopted already', p_name USING ERRCODE = 'duplicate_object',
            HINT = 'Change its refresh rate by update_materialized_view_refresh_rate.';
    END IF;
    INSERT INTO materialized_view_settings (
        kind, mv_relation, mv_schema, mv_name, owner, refresh_rate_in_sec, refresh_cron, refresh_time_zone, session_settings)
    SELECT 'native', relation, n.nspname, c.relname, c.relowner, p_rate, p_cron, p_time_zone,
           kept_session_settings() || jsonb_build_object('search_path', p_path)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = relation
    RETURNING mv_id INTO new_id;
    RETURN new_id;
END $$;
COMMENT ON FUNCTION adopt_in_path(text, text, integer, text, text) IS 'Takes a native MATERIALIZED VIEW into the schedule';

CREATE FUNCTION drop_by_id(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    owners oid[];
    live record;
BEGIN
    -- a running refresh holds the table and needs its dictionary rows at its end: it goes first
    PERFORM try_refresh_lock(p_mv_id, true);
    DELETE FROM materialized_view_settings WHERE mv_id = p_mv_id RETURNING * INTO view_row;
    IF NOT FOUND THEN
        SELECT * INTO view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
        RAISE EXCEPTION 'materialized view "%" belongs to another role', view_row.mv_name
            USING ERRCODE = 'insufficient_privilege', HINT = 'Only its owner, or a member of that role, may drop it.';
    END IF;
    IF view_row.kind = 'native' THEN
        RETURN;
    END IF;
    -- whoever calls may have rights over views that the owner has not
    owners := ARRAY[view_row.owner::oid, (SELECT relowner FROM pg_class WHERE oid = view_row.mv_relation AND relkind IN ('r', 'm', 'p'))];
    IF EXISTS (SELECT FROM pg_class WHERE oid = view_row.mv_relation AND relkind IN ('r', 'm', 'p')) THEN
        EXECUTE format('DROP TABLE %s', qualified_name(view_row.mv_relation));
    END IF;
    SELECT n.nspname, c.relname INTO live
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = view_row.v_relation AND c.relkind = 'v' AND c.relowner = ANY (owners);
    IF FOUND AND view_row.view_origin = 'module' THEN
        EXECUTE format('DROP VIEW %I.%I', live.nspname, live.relname);
    ELSIF FOUND AND view_row.view_origin = 'renamed' THEN
        EXECUTE format('ALTER VIEW %I.%I RENAME TO %I', live.nspname, live.relname, view_row.mv_name);
    END IF;
END $$;
COMMENT ON FUNCTION drop_by_id(integer) IS
    'Drops a materialized view; a view that gave it its name gets the name back, an adopted native one only leaves the schedule';

CREATE FUNCTION refresh_by_id(p_mv_id integer, p_method text, p_trigger text) RETURNS SETOF refresh_outcome
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF p_method IS NOT NULL AND p_method NOT IN ('auto', 'fast', 'complete', 'in_place', 'rebuild') THEN
        RAISE EXCEPTION 'refresh method "%" is unknown: it must be auto, fast, complete, in_place or rebuild', p_method
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM take_permit(p_mv_id);
    RETURN QUERY SELECT * FROM perform_permitted_refresh(p_mv_id, p_trigger, p_method);
END $$;
COMMENT ON FUNCTION refresh_by_id(integer, text, text) IS 'Refreshes a materialized view in the name of the caller';

CREATE FUNCTION refresh_all(p_force boolean)
RETURNS TABLE (mv_name text, outcome text, method text, form text, rows_changed bigint, duration_ms double precision, error text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    candidate record;
    result refresh_outcome;
    begun timestamptz;
    failure_code text;
BEGIN
    FOR candidate IN
        SELECT s.mv_id, shown_name(s) AS full_name,
               -- a group is refreshed once, with the first of its members
               row_number() OVER (PARTITION BY s.refresh_group ORDER BY s.mv_id) AS rank_in_group, s.refresh_group
        FROM materialized_view_settings s
        JOIN materialized_view_state t USING (mv_id)
        WHERE s.enabled AND s.mv_relation IS NOT NULL AND may_act_for(s.mv_relation, s.owner)
          AND (p_force OR is_fresh(s.refresh_rate_in_sec, t.last_refresh) IS FALSE)
        ORDER BY dependency_level(s.mv_id), s.mv_id
    LOOP
        CONTINUE WHEN candidate.refresh_group IS NOT NULL AND candidate.rank_in_group > 1;
        begun := clock_timestamp();
        BEGIN
            FOR result IN SELECT * FROM refresh_by_id(candidate.mv_id, NULL, 'all') LOOP
                mv_name := (SELECT shown_name(s) FROM materialized_view_settings s WHERE s.mv_id = result.mv_id);
                outcome := 'succeeded';
                method := result.method;
                form := result.form;
                rows_changed := result.rows_changed;
                duration_ms := result.duration_ms;
                error := NULL;
                RETURN NEXT;
            END LOOP;
        EXCEPTION WHEN OTHERS THEN
            -- this one keeps its old rows; the others go on
            mv_name := candidate.full_name;
            outcome := 'failed';
            method := NULL;
            form := NULL;
            rows_changed := NULL;
            duration_ms := elapsed_ms(begun);
            error := SQLERRM;
            failure_code := SQLSTATE;
            PERFORM take_permit(candidate.mv_id);
            PERFORM record_permitted_failure(candidate.mv_id, 'all', begun, error, failure_code);
            RETURN NEXT;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION refresh_all(boolean) IS 'Refreshes the materialized views of the caller, in dependency order';

CREATE FUNCTION is_fresh(p_rate integer, p_last_refresh timestamptz) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
RETURN CASE
    WHEN p_rate IS NULL THEN NULL
    WHEN p_last_refresh IS NULL THEN false
    -- a last refresh in the future means that the clock was set back: nothing is known of its age
    WHEN p_last_refresh > clock_timestamp() THEN false
    ELSE clock_timestamp() - make_interval(secs => p_rate) <= p_last_refresh
END;
COMMENT ON FUNCTION is_fresh(integer, timestamptz) IS 'Whether a last refresh is within the refresh rate; NULL without a rate';

CREATE FUNCTION is_fresh_by_id(p_mv_id integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    SELECT is_fresh(s.refresh_rate_in_sec, t.last_refresh)
    FROM materialized_view_settings s LEFT JOIN materialized_view_state t USING (mv_id)
    WHERE s.mv_id = p_mv_id
$$;
COMMENT ON FUNCTION is_fresh_by_id(integer) IS 'Whether a materialized view is within its refresh rate';

CREATE FUNCTION change_by_id(p_mv_id integer, p_changes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    assignments text;
    changed bigint;
BEGIN
    SELECT string_agg(format('%1$I = (jsonb_populate_record(NULL::materialized_view_settings, $1)).%1$I', key), ', ')
    INTO assignments
    FROM jsonb_object_keys(p_changes) AS key;
    EXECUTE format('UPDATE materialized_view_settings SET %s WHERE mv_id = $2', assignments) USING p_changes, p_mv_id;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed = 0 THEN
        RAISE EXCEPTION 'materialized view "%" belongs to another role',
                (SELECT mv_name FROM materialized_view_settings WHERE mv_id = p_mv_id)
            USING ERRCODE = 'insufficient_privilege', HINT = 'Only its owner, or a member of that role, may change its settings.';
    END IF;
END $$;
COMMENT ON FUNCTION change_by_id(integer, jsonb) IS 'Changes settings of a materialized view in the name of the caller';
