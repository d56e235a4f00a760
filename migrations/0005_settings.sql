-- Changes of settings: checked in one place, whatever statement brings them, and announced to the daemon.

CREATE FUNCTION check_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    problem text := crontab_error(NEW.refresh_cron);
    relation_row record;
BEGIN
    problem := CASE
        WHEN NEW.refresh_rate_in_sec <= 0 THEN
            format('refresh_rate_in_sec is %s: it must be 1 or more, or NULL for no rate', NEW.refresh_rate_in_sec)
        WHEN problem IS NOT NULL THEN
            'refresh_cron: ' || problem
        WHEN NEW.refresh_time_zone IS NOT NULL AND NOT EXISTS (
                SELECT FROM pg_timezone_names WHERE name = NEW.refresh_time_zone) THEN
            format('refresh_time_zone: "%s" is not a time zone; pg_timezone_names lists them', NEW.refresh_time_zone)
        WHEN NEW.refresh_method IS NULL OR NEW.refresh_method NOT IN ('auto', 'fast', 'complete') THEN
            format('refresh_method is "%s": it must be auto, fast or complete', NEW.refresh_method)
        WHEN NEW.complete_form IS NULL OR NEW.complete_form NOT IN ('in_place', 'rebuild') THEN
            format('complete_form is "%s": it must be in_place or rebuild', NEW.complete_form)
        WHEN NEW.requested_method NOT IN ('auto', 'fast', 'complete', 'in_place', 'rebuild') THEN
            format('requested_method is "%s": it must be auto, fast, complete, in_place or rebuild', NEW.requested_method)
        WHEN NEW.statement_timeout_in_sec <= 0 THEN 'statement_timeout_in_sec must be 1 or more, or NULL for the configured one'
        WHEN NEW.lock_timeout_in_sec <= 0 THEN 'lock_timeout_in_sec must be 1 or more, or NULL for the configured one'
        WHEN btrim(NEW.refresh_group) = '' THEN 'refresh_group is empty: use NULL for no group'
        WHEN NEW.enabled IS NULL THEN 'enabled must be true or false'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', format('materialized view "%s": %s', NEW.mv_name, problem) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF TG_OP = 'INSERT' AND NEW.mv_relation IS NULL THEN
        RAISE EXCEPTION '%', format('materialized view "%s" has no table', NEW.mv_name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use create_materialized_view.';
    END IF;
    -- names and owner are those of the relations as long as these exist, whatever the statement says
    SELECT n.nspname, c.relname, c.relowner INTO relation_row
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = NEW.mv_relation;
    IF FOUND THEN
        NEW.mv_schema := relation_row.nspname;
        NEW.mv_name := relation_row.relname;
        NEW.owner := relation_row.relowner;
    END IF;
    SELECT n.nspname, c.relname INTO relation_row
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = NEW.v_relation;
    IF FOUND THEN
        NEW.v_schema := relation_row.nspname;
        NEW.v_name := relation_row.relname;
    END IF;
    NEW.changed_at := clock_timestamp();
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_settings() IS 'Trigger: refuses settings that make no sense, and stamps the change';

CREATE TRIGGER check_settings BEFORE INSERT OR UPDATE ON materialized_view_settings
    FOR EACH ROW EXECUTE FUNCTION check_settings();

CREATE FUNCTION announce_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- identical notifications of one transaction are sent once
    PERFORM pg_notify(module_schema(), 'settings');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION announce_settings() IS 'Trigger: tells the daemon that settings have changed';

CREATE TRIGGER announce_settings AFTER INSERT OR UPDATE OR DELETE ON materialized_view_settings
    FOR EACH STATEMENT EXECUTE FUNCTION announce_settings();

CREATE VIEW materialized_views WITH (security_invoker) AS
SELECT s.mv_id,
       coalesce(mv_n.nspname, s.mv_schema) AS mv_schema,
       coalesce(mv_c.relname, s.mv_name) AS mv_name,
       coalesce(v_n.nspname, s.v_schema) AS v_schema,
       coalesce(v_c.relname, s.v_name) AS v_name,
       s.refresh_rate_in_sec,
       s.refresh_cron,
       s.refresh_time_zone,
       s.refresh_method,
       s.complete_form,
       s.refresh_group,
       s.enabled,
       s.statement_timeout_in_sec,
       s.lock_timeout_in_sec,
       t.last_refresh,
       t.last_method,
       t.last_reason,
       t.last_duration_ms,
       t.last_rows_changed,
       t.avg_cost_ms,
       t.last_snapshot,
       clock_timestamp() - t.last_refresh AS staleness,
       CASE
           WHEN NOT s.enabled THEN 'disabled'
           WHEN t.suspended_at > s.changed_at THEN 'suspended'
           WHEN mv_c.oid IS NULL THEN 'dropped'
           WHEN t.failures > 0 THEN 'failing'
           WHEN t.quarantined_at > coalesce(s.resumed_at, '-infinity') THEN 'quarantined'
           WHEN t.last_refresh IS NULL THEN 'empty'
           ELSE 'ok'
       END AS status,
       t.failures,
       t.last_error,
       t.last_error_code,
       t.last_error_at,
       t.retry_at,
       s.requested_at,
       s.requested_method,
       s.kind,
       s.owner,
       s.created_at,
       s.changed_at
FROM materialized_view_settings s
LEFT JOIN materialized_view_state t USING (mv_id)
-- the number of a relation dropped by hand may, after a restore into another cluster, be that of an index or a view
LEFT JOIN pg_class mv_c ON mv_c.oid = s.mv_relation AND mv_c.relkind IN ('r', 'm', 'p')
LEFT JOIN pg_namespace mv_n ON mv_n.oid = mv_c.relnamespace
LEFT JOIN pg_class v_c ON v_c.oid = s.v_relation
LEFT JOIN pg_namespace v_n ON v_n.oid = v_c.relnamespace;
COMMENT ON VIEW materialized_views IS
    'Dictionary: one row per materialized view. UPDATE refresh_rate_in_sec, refresh_cron, refresh_time_zone, refresh_method, complete_form, refresh_group, enabled or the timeouts in place';

CREATE FUNCTION update_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION '% on materialized_views is not possible', TG_OP
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Use create_materialized_view, adopt_materialized_view or drop_materialized_view.';
    END IF;
    -- whatever is neither a setting nor unchanged would be lost in silence
    IF to_jsonb(NEW) - '{refresh_rate_in_sec,refresh_cron,refresh_time_zone,refresh_method,complete_form,refresh_group,enabled,statement_timeout_in_sec,lock_timeout_in_sec,staleness}'::text[]
       <> to_jsonb(OLD) - '{refresh_rate_in_sec,refresh_cron,refresh_time_zone,refresh_method,complete_form,refresh_group,enabled,statement_timeout_in_sec,lock_timeout_in_sec,staleness}'::text[] THEN
        RAISE EXCEPTION 'materialized view "%": this column is kept by the module', OLD.mv_name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Can be changed: refresh_rate_in_sec, refresh_cron, refresh_time_zone, refresh_method, complete_form, refresh_group, enabled, statement_timeout_in_sec, lock_timeout_in_sec.';
    END IF;
    -- only what this statement changes, so that two users changing different columns don't undo each other
    UPDATE materialized_view_settings s
    SET refresh_rate_in_sec = CASE WHEN NEW.refresh_rate_in_sec IS DISTINCT FROM OLD.refresh_rate_in_sec THEN NEW.refresh_rate_in_sec ELSE s.refresh_rate_in_sec END,
        refresh_cron = CASE WHEN NEW.refresh_cron IS DISTINCT FROM OLD.refresh_cron THEN NEW.refresh_cron ELSE s.refresh_cron END,
        refresh_time_zone = CASE WHEN NEW.refresh_time_zone IS DISTINCT FROM OLD.refresh_time_zone THEN NEW.refresh_time_zone ELSE s.refresh_time_zone END,
        refresh_method = CASE WHEN NEW.refresh_method IS DISTINCT FROM OLD.refresh_method THEN NEW.refresh_method ELSE s.refresh_method END,
        complete_form = CASE WHEN NEW.complete_form IS DISTINCT FROM OLD.complete_form THEN NEW.complete_form ELSE s.complete_form END,
        refresh_group = CASE WHEN NEW.refresh_group IS DISTINCT FROM OLD.refresh_group THEN NEW.refresh_group ELSE s.refresh_group END,
        enabled = CASE WHEN NEW.enabled IS DISTINCT FROM OLD.enabled THEN NEW.enabled ELSE s.enabled END,
        statement_timeout_in_sec = CASE WHEN NEW.statement_timeout_in_sec IS DISTINCT FROM OLD.statement_timeout_in_sec THEN NEW.statement_timeout_in_sec ELSE s.statement_timeout_in_sec END,
        lock_timeout_in_sec = CASE WHEN NEW.lock_timeout_in_sec IS DISTINCT FROM OLD.lock_timeout_in_sec THEN NEW.lock_timeout_in_sec ELSE s.lock_timeout_in_sec END
    WHERE s.mv_id = OLD.mv_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'materialized view "%" belongs to another role', OLD.mv_name
            USING ERRCODE = 'insufficient_privilege', HINT = 'Only its owner, or a member of that role, may change its settings.';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION update_settings() IS 'Trigger: an UPDATE of materialized_views changes the settings';

CREATE TRIGGER update_settings INSTEAD OF INSERT OR UPDATE OR DELETE ON materialized_views
    FOR EACH ROW EXECUTE FUNCTION update_settings();
