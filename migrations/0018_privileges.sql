-- Three roles as in pg-mv-fast-refresh: …_usage may use the schema, …_view reads the dictionary, …_execute calls the
-- functions. They are created where the installing role may, else the statements for an administrator are returned.

CREATE FUNCTION module_role(p_suffix text) RETURNS name
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN suffixed_name(module_schema(), '_' || p_suffix);
COMMENT ON FUNCTION module_role(text) IS 'The name of one of the three roles of the module';

CREATE FUNCTION create_module_roles() RETURNS SETOF text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    role_name name;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[module_role('usage'), module_role('view'), module_role('execute')] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- another installation in this cluster was faster
            WHEN insufficient_privilege THEN
                RETURN NEXT format('CREATE ROLE %I NOLOGIN;', role_name);
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION create_module_roles() IS 'Creates the roles of the module; returns the statements for those it may not create';

CREATE FUNCTION grant_if_exists(p_role name, p_grant text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) THEN
        EXECUTE format('GRANT %s TO %I', p_grant, p_role);
    END IF;
END $$;
COMMENT ON FUNCTION grant_if_exists(name, text) IS 'Grants something to a role of the module if that role exists';

CREATE FUNCTION function_audience(p_function name, p_security_definer boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT
RETURN CASE
    -- called inside refresh functions, by owners with their own rights
    WHEN p_function IN ('drop_indexes', 'create_indexes', 'index_hook', 'index_definitions', 'call_hook', 'qualified_name', 'module_schema') THEN 'everybody'
    WHEN p_function IN ('perform_permitted_refresh', 'record_permitted_failure', 'perform_permitted_verify', 'fill_permitted',
                        'put_back', 'keep_settings', 'create_permitted_log', 'drop_permitted_log') THEN 'execute'
    -- numbers of pending changes, for whoever reads the dictionary
    WHEN p_function IN ('refresh_outlook', 'logs_outlook', 'pending_changes_of') THEN 'view'
    -- what runs with the module's rights and asks nobody is for the daemon
    WHEN p_security_definer THEN 'module'
    WHEN p_function IN ('create_module_roles', 'grant_if_exists', 'grant_privileges', 'record_module_objects', 'prune_history', 'prune_audits', 'forget_stray_numbers') THEN 'module'
    ELSE 'execute'
END;
COMMENT ON FUNCTION function_audience(name, boolean) IS 'Who may call a function of the module: everybody, view (the roles that read the dictionary), execute (that role), or module (its owner only)';

CREATE FUNCTION grant_privileges() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    schema_name text := quote_ident(module_schema());
    user_columns CONSTANT text := 'refresh_rate_in_sec, refresh_cron, refresh_time_zone, refresh_method, complete_form, '
        'refresh_group, enabled, statement_timeout_in_sec, lock_timeout_in_sec';
    executor oid := (SELECT oid FROM pg_roles WHERE rolname = module_role('execute'));
    viewer oid := (SELECT oid FROM pg_roles WHERE rolname = module_role('view'));
    role_name name;
    function_row record;
BEGIN
    -- It runs at every start of a daemon, when as a rule there is nothing to do.
    FOR function_row IN
        SELECT p.oid::regprocedure AS signature, a.audience,
               p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) acl WHERE acl.grantee = 0) AS is_public,
               has_function_privilege(executor, p.oid, 'EXECUTE') AS is_granted
        FROM pg_proc p CROSS JOIN LATERAL function_audience(p.proname, p.prosecdef) AS a (audience)
        WHERE p.pronamespace = quote_ident(module_schema())::regnamespace AND p.proname !~ '\$'
    LOOP
        IF function_row.is_public AND function_row.audience <> 'everybody' THEN
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function_row.signature);
        ELSIF NOT function_row.is_public AND function_row.audience = 'everybody' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', function_row.signature);
        END IF;
        IF function_row.audience IN ('execute', 'view') AND (function_row.is_public OR NOT function_row.is_granted) THEN
            PERFORM grant_if_exists(module_role('execute'), format('EXECUTE ON FUNCTION %s', function_row.signature));
        END IF;
        IF function_row.audience = 'view' AND has_function_privilege(viewer, function_row.signature, 'EXECUTE') IS FALSE THEN
            PERFORM grant_if_exists(module_role('view'), format('EXECUTE ON FUNCTION %s', function_row.signature));
        END IF;
    END LOOP;
    FOREACH role_name IN ARRAY ARRAY[module_role('usage'), module_role('view'), module_role('execute')] LOOP
        IF has_schema_privilege((SELECT oid FROM pg_roles WHERE rolname = role_name), quote_ident(module_schema())::regnamespace, 'USAGE') IS FALSE THEN
            -- grants on one schema by two transactions at once fail with "tuple concurrently updated"
            PERFORM pg_advisory_xact_lock(module_key(), 0);
            PERFORM grant_if_exists(role_name, 'USAGE ON SCHEMA ' || schema_name);
        END IF;
    END LOOP;
    PERFORM grant_if_exists(module_role('view'), format(
        'SELECT ON %1$s.materialized_views, %1$s.materialized_view_settings, %1$s.materialized_view_state, '
        '%1$s.materialized_view_sources, %1$s.materialized_view_logs, %1$s.refresh_history, %1$s.refresh_schedule, %1$s.module_objects, %1$s.incarnation, %1$s.fast_programs, %1$s.fast_program_logs, %1$s.checked_programs, %1$s._sqlx_migrations', schema_name));
    PERFORM grant_if_exists(module_role('execute'), format(
        'SELECT ON %1$s.materialized_views, %1$s.materialized_view_settings, %1$s.materialized_view_state, '
        '%1$s.materialized_view_sources, %1$s.materialized_view_logs, %1$s.refresh_history, %1$s.refresh_schedule, %1$s.module_objects, %1$s.incarnation, %1$s.fast_programs, %1$s.fast_program_logs, %1$s.checked_programs, %1$s._sqlx_migrations', schema_name));
    -- the evidence holds rows of base tables
    FOREACH role_name IN ARRAY ARRAY[module_role('view'), module_role('execute')] LOOP
        PERFORM grant_if_exists(role_name, format(
            'SELECT (audit_id, mv_id, mv_name, audited_at, duration_ms, sampled_by, rows_compared, rows_missing, rows_unexpected) ON %s.audits',
            schema_name));
    END LOOP;
    PERFORM grant_if_exists(module_role('execute'), format(
        'DELETE, INSERT (kind, mv_relation, v_relation, mv_schema, mv_name, v_schema, v_name, view_origin, owner, session_settings, %2$s), '
        'UPDATE (requested_at, requested_method, resumed_at, %2$s) ON %1$s.materialized_view_settings', schema_name, user_columns));
    PERFORM grant_if_exists(module_role('execute'), format('UPDATE ON %1$s.materialized_views', schema_name));
    PERFORM grant_if_exists(module_role('execute'), format('INSERT ON %1$s.refresh_permits, %1$s.log_permits', schema_name));
END $$;
COMMENT ON FUNCTION grant_privileges() IS 'Gives the roles of the module their rights; may be called again at any time';
