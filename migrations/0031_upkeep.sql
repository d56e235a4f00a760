-- Whether upkeep has anything to do, in one statement: an idle daemon costs the database nothing worth mentioning.

CREATE FUNCTION upkeep_wanted(p_compiler integer, p_confirm interval, p_audit interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN EXISTS (SELECT FROM programs_to_compile(p_compiler))
        OR EXISTS (
            SELECT FROM materialized_view_logs l
            WHERE newest_log_xid(l.log_id) IS NOT NULL
               OR log_problem(l.log_id) IS NOT NULL
               OR (NOT l.is_kept AND NOT EXISTS (SELECT FROM fast_program_logs p WHERE p.log_id = l.log_id)))
        OR EXISTS (
            SELECT FROM fast_programs f
            JOIN materialized_view_settings s USING (mv_id)
            JOIN materialized_view_state t USING (mv_id)
            WHERE f.body IS NOT NULL AND s.enabled AND (s.refresh_rate_in_sec IS NOT NULL OR s.refresh_cron IS NOT NULL)
              AND t.last_refresh < clock_timestamp() - p_confirm)
        OR EXISTS (SELECT FROM audits_due(p_audit));
END $$;
COMMENT ON FUNCTION upkeep_wanted(integer, interval, interval) IS
    'Whether anything is to be compiled, repaired, pruned, dropped, confirmed or, unless that interval is NULL, audited';
