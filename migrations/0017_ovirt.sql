-- oVirt's names for existing scripts and cron lines: thin wrappers, same arguments, documented behaviour.

CREATE FUNCTION grant_to_public(p_mv_id integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    EXECUTE format('GRANT SELECT ON %s TO PUBLIC',
                   qualified_name((SELECT mv_relation FROM materialized_view_settings WHERE mv_id = p_mv_id)));
END $$;
COMMENT ON FUNCTION grant_to_public(integer) IS 'Lets everybody read a materialized view, as oVirt does';

CREATE FUNCTION warn_of_failures(p_action text, p_mv_name text, p_error text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE WARNING 'could not % materialized view %: %', p_action, p_mv_name, p_error;
END $$;
COMMENT ON FUNCTION warn_of_failures(text, text, text) IS 'Warns of one materialized view that failed among many';

CREATE FUNCTION create_all_hooked_indexes() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    candidate record;
BEGIN
    FOR candidate IN
        SELECT s.mv_id FROM materialized_view_settings s
        WHERE s.kind = 'table' AND s.mv_relation IS NOT NULL AND may_act_for(s.mv_relation, s.owner)
          AND index_hook(s.mv_relation, 'create') IS NOT NULL
        ORDER BY s.mv_id
    LOOP
        PERFORM run_refresh_function('create_indexes', candidate.mv_id);
    END LOOP;
END $$;
COMMENT ON FUNCTION create_all_hooked_indexes() IS 'Calls the index creating functions that users wrote, with the rights of the owners';

CREATE FUNCTION CreateMaterializedView(v_matview text, v_view_name text, v_refresh_rate_in_sec integer)
RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT create_materialized_view(v_matview, NULL, v_refresh_rate_in_sec, v_view_name);
    SELECT grant_to_public(require_materialized_view(pg_catalog.current_setting('search_path'), v_matview));
END;
COMMENT ON FUNCTION CreateMaterializedView(text, text, integer) IS
    'oVirt: creates a materialized view from a view; everybody may read it';

CREATE FUNCTION CreateMaterializedViewAs(v_view_name text, v_refresh_rate_in_sec integer)
RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT create_materialized_view_as(v_view_name, v_refresh_rate_in_sec);
    SELECT grant_to_public(require_materialized_view(pg_catalog.current_setting('search_path'), v_view_name));
END;
COMMENT ON FUNCTION CreateMaterializedViewAs(text, integer) IS
    'oVirt: puts a materialized view in the place of a view; everybody may read it';

CREATE FUNCTION DropMaterializedView(v_matview text) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT drop_materialized_view(v_matview);
END;
COMMENT ON FUNCTION DropMaterializedView(text) IS 'oVirt: drops a materialized view; a view that gave it its name gets the name back';

CREATE FUNCTION DropAllMaterializedViews() RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT warn_of_failures('drop', mv_name, error) FROM drop_all_materialized_views(true) WHERE outcome = 'failed';
END;
COMMENT ON FUNCTION DropAllMaterializedViews() IS
    'oVirt: drops all materialized views before an upgrade; dictionary rows, refresh rates included, stay';

CREATE FUNCTION RefreshMaterializedView(v_matview text) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT refresh_materialized_view(v_matview);
END;
COMMENT ON FUNCTION RefreshMaterializedView(text) IS 'oVirt: refreshes a materialized view, whether it is due or not';

CREATE FUNCTION RefreshAllMaterializedViews(v_force boolean) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT warn_of_failures('refresh', mv_name, error) FROM refresh_all_materialized_views(v_force) WHERE outcome = 'failed';
END;
COMMENT ON FUNCTION RefreshAllMaterializedViews(boolean) IS
    'oVirt: refreshes the materialized views past their refresh rate, or all of them; a failing one is warned of and does not stop the others';

CREATE FUNCTION IsMaterializedViewRefreshed(v_matview text) RETURNS boolean LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT is_materialized_view_refreshed(v_matview);
END;
COMMENT ON FUNCTION IsMaterializedViewRefreshed(text) IS 'oVirt: whether a materialized view is within its refresh rate';

CREATE FUNCTION UpdateMaterializedViewRefreshRate(v_matview text, v_refresh_rate_in_sec integer) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT update_materialized_view_refresh_rate(v_matview, v_refresh_rate_in_sec);
END;
COMMENT ON FUNCTION UpdateMaterializedViewRefreshRate(text, integer) IS 'oVirt: sets the refresh rate of a materialized view';

CREATE FUNCTION CreateAllMaterializedViewsiIndexes() RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT create_all_hooked_indexes();
END;
COMMENT ON FUNCTION CreateAllMaterializedViewsiIndexes() IS
    'oVirt: calls MtCreate<name>Indexes() of every materialized view that has one';
