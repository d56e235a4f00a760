-- What the checks of programs and logs found, remembered with the versions of all rows that they looked at: as long as these are the
-- same, so is what the checks would find. Looking at versions costs a tenth of the checks.

CREATE TABLE checked_programs (
    mv_id integer PRIMARY KEY REFERENCES fast_programs ON DELETE CASCADE,
    owner oid NOT NULL,
    logs integer[] NOT NULL,
    -- what the materialized view reads, with partitions and the like of it
    sources oid[] NOT NULL,
    members oid[] NOT NULL,
    -- the tables of which columns and indexes matter, and all of which anything matters
    tables oid[] NOT NULL,
    relations oid[] NOT NULL,
    views oid[] NOT NULL,
    functions oid[] NOT NULL,
    capture_functions oid[] NOT NULL,
    enumerations oid[] NOT NULL,
    versions bigint NOT NULL
);
COMMENT ON TABLE checked_programs IS 'One row per materialized view whose program (or refusal) and logs were found in order: what that rests on, and its versions then';

CREATE FUNCTION catalog_versions(p_checked checked_programs, p_system_identifier bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
-- see choose_refresh
SET plan_cache_mode TO force_generic_plan SET enable_seqscan TO off SET enable_bitmapscan TO off SET jit TO off AS $$
DECLARE
    versions bigint;
BEGIN
    -- A row that is updated gets another place (ctid) and the updater's transaction (xmin), both for good: the two together are never
    -- those of an earlier version, not even of one of the same transaction. What the server changes without a new version are
    -- statistics and hints (pg_class). Whatever is not a row, a privilege by way of a role, is looked at itself.
    -- Rows that come, go or change each change the sum, which is that of hashes of 64 bits.
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    SELECT bit_xor(hash) INTO versions FROM (
        -- the dictionary; rows that are updated often by what they say
        SELECT hash_record_extended(ROW(s.mv_relation, s.v_relation, s.session_settings, p_system_identifier), 1) AS hash
        FROM materialized_view_settings s WHERE s.mv_id = p_checked.mv_id
        UNION ALL
        SELECT hash_record_extended(ROW(f.ctid, f.xmin), 2) FROM fast_programs f WHERE f.mv_id = p_checked.mv_id
        UNION ALL
        SELECT hash_record_extended(ROW(l.log_id, l.base_table, l.logged_attnums, l.fingerprint), 3)
        FROM materialized_view_logs l WHERE l.log_id = ANY (p_checked.logs)
        UNION ALL
        -- tables, their columns and indexes
        SELECT hash_record_extended(ROW(c.ctid, c.xmin, CASE WHEN c.oid = ANY (p_checked.sources) THEN ARRAY[
            has_table_privilege(p_checked.owner, c.oid, 'SELECT'), has_schema_privilege(p_checked.owner, c.relnamespace, 'USAGE'),
            has_table_privilege(c.oid, 'TRIGGER'), CASE WHEN c.relrowsecurity THEN bypasses_row_security(p_checked.owner, c.oid) END] END), 4)
        FROM pg_class c WHERE c.oid = ANY (p_checked.relations)
        UNION ALL
        SELECT hash_record_extended(ROW(a.ctid, a.xmin, CASE WHEN a.attacl IS NOT NULL THEN has_column_privilege(p_checked.owner, a.attrelid, a.attnum, 'SELECT') END), 5)
        FROM pg_attribute a WHERE a.attrelid = ANY (p_checked.tables) AND a.attnum > 0
        UNION ALL
        SELECT hash_record_extended(ROW(d.ctid, d.xmin), 6) FROM pg_attrdef d WHERE d.adrelid = ANY (p_checked.sources)
        UNION ALL
        SELECT hash_record_extended(ROW(i.ctid, i.xmin), 7) FROM pg_index i WHERE i.indrelid = ANY (p_checked.tables)
        UNION ALL
        -- what the query calls
        SELECT hash_record_extended(ROW(w.ctid, w.xmin), 8) FROM pg_rewrite w WHERE w.ev_class = ANY (p_checked.views)
        UNION ALL
        SELECT hash_record_extended(ROW(p.ctid, p.xmin), 9) FROM pg_proc p WHERE p.oid = ANY (p_checked.functions)
        UNION ALL
        SELECT hash_record_extended(ROW(e.ctid, e.xmin), 10) FROM pg_enum e WHERE e.enumtypid = ANY (p_checked.enumerations)
        UNION ALL
        -- how changes get into the logs
        SELECT hash_record_extended(ROW(i.ctid, i.xmin), 11) FROM pg_inherits i WHERE i.inhrelid = ANY (p_checked.members)
        UNION ALL
        SELECT hash_record_extended(ROW(i.ctid, i.xmin), 12) FROM pg_inherits i WHERE i.inhparent = ANY (p_checked.members)
        UNION ALL
        SELECT hash_record_extended(ROW(t.ctid, t.xmin), 13) FROM pg_trigger t WHERE t.tgrelid = ANY (p_checked.members)
        UNION ALL
        SELECT hash_record_extended(ROW(d.ctid, d.xmin), 14)
        FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = ANY (p_checked.capture_functions)
        UNION ALL
        SELECT hash_record_extended(ROW(s.srrelid, s.srsubid), 15) FROM pg_subscription_rel s WHERE s.srrelid = ANY (p_checked.members)
    ) AS looked_at;
    RETURN versions;
END $$;
COMMENT ON FUNCTION catalog_versions(checked_programs, bigint) IS
    'Changes whenever a row changes by which the program and the logs of a materialized view are judged: program_fingerprint, log_fingerprints';

CREATE FUNCTION is_as_checked(p_state materialized_view_state) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    checked checked_programs;
BEGIN
    SELECT * INTO checked FROM checked_programs WHERE mv_id = p_state.mv_id;
    RETURN coalesce(checked.versions = catalog_versions(checked, p_state.system_identifier), false);
END $$;
COMMENT ON FUNCTION is_as_checked(materialized_view_state) IS 'Whether program and logs of a materialized view were found in order, and nothing has changed since by which they are judged';

CREATE FUNCTION what_checks_look_at(p_state materialized_view_state) RETURNS checked_programs
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    found checked_programs;
    module oid := quote_ident(current_schema())::regnamespace;
    stored oid;
BEGIN
    found.mv_id := p_state.mv_id;
    found.views := p_state.read_views;
    SELECT c.oid, c.relowner INTO stored, found.owner FROM materialized_view_settings s JOIN pg_class c ON c.oid = s.mv_relation WHERE s.mv_id = found.mv_id;
    found.logs := array(SELECT log_id FROM fast_program_logs WHERE mv_id = found.mv_id);
    found.sources := array(SELECT source FROM materialized_view_sources WHERE mv_id = found.mv_id);
    -- of all that is read, also where no log is to be had
    found.members := array(SELECT DISTINCT unnest(log_member_ids(source)) FROM unnest(found.sources) source);
    found.tables := found.sources || stored || array(SELECT to_regclass(log_table(id))::oid FROM unnest(found.logs) id);
    found.relations := found.tables || found.members
        || array(SELECT c.oid FROM fast_programs f, jsonb_array_elements(f.states) s, pg_class c
                 WHERE f.mv_id = found.mv_id AND c.relname = s ->> 'table' AND c.relnamespace = module)
        || array(SELECT x.oid FROM fast_programs f, pg_class m, pg_class x
                 WHERE f.mv_id = found.mv_id AND m.oid = stored AND x.relname = f.row_index AND x.relnamespace = m.relnamespace);
    found.capture_functions := array(SELECT p.oid FROM pg_proc p WHERE p.proname IN (SELECT 'capture$' || id FROM unnest(found.logs) id) AND p.pronamespace = module);
    found.functions := found.capture_functions
        || array(SELECT p.oid FROM pg_proc p WHERE p.proname = 'fast$' || found.mv_id AND p.pronamespace = module)
        || called_functions(found.views);
    found.enumerations := array(
        -- those without any value are to be seen getting some
        SELECT DISTINCT e.oid
        FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid JOIN pg_type e ON e.oid IN (y.oid, y.typelem, y.typbasetype) AND e.typtype = 'e'
        WHERE a.attrelid = ANY (found.sources) AND a.attnum > 0 AND a.atttypid >= 16384);
    found.versions := catalog_versions(found, p_state.system_identifier);
    RETURN found;
END $$;
COMMENT ON FUNCTION what_checks_look_at(materialized_view_state) IS 'What the judgement of the program and the logs of a materialized view rests on, as it is now';

CREATE FUNCTION renew_checks(p_state materialized_view_state) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
    -- Versions first, checks after: what changes in between makes them differ, and not the checks wrong.
    checked checked_programs := what_checks_look_at(p_state);
    program record := program_problem(p_state.mv_id);
BEGIN
    IF program.needs_upkeep THEN
        UPDATE fast_programs SET compiled_for = NULL WHERE mv_id = p_state.mv_id AND compiled_for IS NOT NULL;
    ELSIF damaged_log(p_state.mv_id) IS NULL THEN
        DELETE FROM checked_programs WHERE mv_id = p_state.mv_id;
        INSERT INTO checked_programs SELECT checked.*;
    END IF;
END $$;
COMMENT ON FUNCTION renew_checks(materialized_view_state) IS
    'Checks program and logs of a materialized view: what is in order is so until anything changes, a program that no longer fits is compiled again by whoever looks after that';
