-- The self-check: what an installation consists of was recorded when it was made, and is compared with the catalog.

CREATE FUNCTION module_object_fingerprints() RETURNS TABLE (object_kind text, object_name text, fingerprint text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- objects of single materialized views have a $ in their names
    SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' ELSE 'table' END, c.relname::text,
           md5(concat_ws(' ', c.relkind, c.relrowsecurity,
               (SELECT string_agg(concat_ws(':', a.attname, a.atttypid::regtype, a.attnotnull), ',' ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)))
    FROM pg_class c
    WHERE c.relnamespace = quote_ident(module_schema())::regnamespace AND c.relkind IN ('r', 'v', 'i')
      AND c.relname !~ '\$' AND c.relname NOT LIKE '\_sqlx\_%'
    UNION ALL
    SELECT 'function', format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
           md5(concat_ws(' ', p.prosrc, p.prosecdef, p.proconfig, pg_get_function_result(p.oid)))
    FROM pg_proc p
    WHERE p.pronamespace = quote_ident(module_schema())::regnamespace AND p.proname !~ '\$'
    UNION ALL
    SELECT 'trigger', format('%s on %s', t.tgname, c.relname), md5(concat_ws(' ', t.tgtype, t.tgenabled, t.tgfoid::regproc))
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = quote_ident(module_schema())::regnamespace AND NOT t.tgisinternal AND c.relname !~ '\$'
    UNION ALL
    SELECT 'policy', format('%s on %s', p.polname, c.relname),
           md5(concat_ws(' ', p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)))
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE c.relnamespace = quote_ident(module_schema())::regnamespace
$$;
COMMENT ON FUNCTION module_object_fingerprints() IS 'The objects of the module as they are now';

CREATE FUNCTION record_module_objects() RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    DELETE FROM module_objects;
    INSERT INTO module_objects SELECT * FROM module_object_fingerprints();
$$;
COMMENT ON FUNCTION record_module_objects() IS 'Records the objects of the module right after they were made';

CREATE FUNCTION view_problem(p_mv_id integer) RETURNS TABLE (problem text, remedy text)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    hint text;
    difference text;
BEGIN
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    IF view_row.mv_relation IS NULL THEN
        RETURN; -- dropped for an upgrade, as somebody asked for
    END IF;
    BEGIN
        PERFORM require_relations(view_row);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
        RETURN QUERY SELECT SQLERRM, hint;
        RETURN;
    END;
    difference := CASE WHEN view_row.kind = 'table' THEN column_difference(view_row.mv_relation, view_row.v_relation) END;
    IF difference IS NOT NULL THEN
        RETURN QUERY SELECT difference, format('SELECT %I.recreate_materialized_view(%L);', module_schema(),
                                               qualified_name(view_row.mv_relation));
    END IF;
END $$;
COMMENT ON FUNCTION view_problem(integer) IS 'What keeps a materialized view from being refreshed, as far as the catalog tells';

CREATE FUNCTION check_objects() RETURNS TABLE (object_kind text, object_name text, status text, remedy text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce(e.object_kind, f.object_kind), coalesce(e.object_name, f.object_name),
           CASE WHEN f.object_name IS NULL THEN 'missing'
                WHEN e.object_name IS NULL THEN 'unknown'
                WHEN e.fingerprint <> f.fingerprint THEN 'changed'
                ELSE 'fine' END,
           CASE WHEN f.object_name IS NULL OR e.fingerprint <> f.fingerprint
                THEN 'restore it from a backup, or uninstall (materialized views stay as tables) and install again'
                WHEN e.object_name IS NULL THEN 'not made by this module: remove it' END
    FROM module_objects e
    FULL JOIN module_object_fingerprints() f USING (object_kind, object_name)
    UNION ALL
    SELECT 'role', module_role(suffix), CASE WHEN r.rolname IS NULL THEN 'missing' ELSE 'fine' END,
           CASE WHEN r.rolname IS NULL THEN format('as an administrator: CREATE ROLE %I NOLOGIN; then run mvrefreshd install again', module_role(suffix)) END
    FROM unnest('{usage,view,execute}'::text[]) AS suffix
    LEFT JOIN pg_roles r ON r.rolname = module_role(suffix)
    UNION ALL
    SELECT 'materialized view', format('%I.%I', s.mv_schema, s.mv_name), coalesce(p.problem, 'fine'), p.remedy
    FROM materialized_view_settings s LEFT JOIN LATERAL view_problem(s.mv_id) p ON true
$$;
COMMENT ON FUNCTION check_objects() IS 'The part of the self-check about the objects of the module and the materialized views';
