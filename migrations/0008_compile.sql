-- The refresh functions of a materialized view: text made from the catalog, created as functions owned by its owner.
--
-- They are SECURITY DEFINER, so the query's own functions run with the owner's rights and can't SET or RESET ROLE. The
-- owner may ALTER such a function but, having no CREATE on this schema, not replace its body; the body's first statement
-- therefore refuses to run with anybody else's rights, and uses no name that a search_path could bend. The last one
-- refuses to leave behind a search_path that a function of the query has set for the session: it would bend the operators
-- of whoever called. (SET for the session and then SET LOCAL back would pass here, but takes this search_path along to the
-- caller, who expects another one and refuses it.)

CREATE FUNCTION kept_session_settings() RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT jsonb_object_agg(name, setting)
    FROM pg_settings
    WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'extra_float_digits', 'bytea_output', 'xmlbinary',
                   'lc_monetary', 'lc_numeric', 'lc_time', 'default_text_search_config')
$$;
COMMENT ON FUNCTION kept_session_settings() IS 'The session''s settings on which results of a query may depend';

CREATE FUNCTION free_alias(p_wanted text, p_columns name[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    -- a column of the same name would hide the whole row behind it
    SELECT p_wanted || repeat('_', n)
    FROM generate_series(0, cardinality(p_columns)) n
    WHERE (p_wanted || repeat('_', n)) <> ALL (p_columns::text[])
    ORDER BY n LIMIT 1
$$;
COMMENT ON FUNCTION free_alias(text, name[]) IS 'An alias that is not the name of one of the columns';

CREATE FUNCTION create_refresh_function(
    p_mv_id integer, p_name text, p_columns_out text, p_body text, p_more_settings text DEFAULT NULL,
    -- setting them takes longer than to refresh a row
    p_reads_settings boolean DEFAULT true
) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    owner_name name;
    settings_clause text;
BEGIN
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT pg_get_userbyid(relowner) INTO STRICT owner_name FROM pg_class WHERE oid = view_row.mv_relation;
    SELECT string_agg(format('SET %I TO %L', s.key, s.value), E'\n' ORDER BY s.key) INTO settings_clause
    FROM jsonb_each_text(view_row.session_settings) s
    WHERE p_reads_settings AND kept_session_settings() ? s.key;
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION %1$I.%2$I(%3$s)%6$s
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path TO pg_catalog, pg_temp
SET row_security TO on
%4$s
%7$s
AS %5$L$create$,
        module_schema(), p_name || '$' || p_mv_id, p_columns_out, settings_clause,
        format($body$
#variable_conflict use_column
DECLARE
    fresh_count bigint;
    stored_count bigint;
BEGIN
    IF current_user OPERATOR(pg_catalog.<>) %L::pg_catalog.name THEN
        RAISE EXCEPTION 'this refresh function must be SECURITY DEFINER and owned by %%', %L
            USING ERRCODE = 'insufficient_privilege';
    END IF;
%s
    IF pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.<>) 'pg_catalog, pg_temp' THEN
        RAISE EXCEPTION 'a function that the query calls has changed search_path beyond its own end'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Use ALTER FUNCTION ... SET search_path = ... instead.';
    END IF;
END
$body$, owner_name, owner_name, p_body),
        CASE WHEN p_columns_out = '' THEN ' RETURNS void' END, p_more_settings);
    PERFORM give_to_owner('FUNCTION', p_name || '$' || p_mv_id, owner_name);
END $$;
COMMENT ON FUNCTION create_refresh_function(integer, text, text, text, text, boolean) IS 'Creates one refresh function of a materialized view for its owner';

CREATE FUNCTION require_membership(p_owner oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    -- from PostgreSQL 16 on, a membership may be one without the right to act, or to make something over
    has_options CONSTANT boolean := current_setting('server_version_num')::integer >= 160000;
BEGIN
    IF p_owner IS NULL OR NOT pg_has_role(p_owner, 'USAGE') OR (has_options AND NOT pg_has_role(p_owner, 'SET')) THEN
        RAISE EXCEPTION '%', format('role "%s" may not refresh for "%s", the owner of the materialized view',
                                    current_user, pg_get_userbyid(p_owner))
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('As an administrator: GRANT %I TO %I%s;', pg_get_userbyid(p_owner), current_user,
                                CASE WHEN has_options THEN ' WITH INHERIT TRUE, SET TRUE' END);
    END IF;
END $$;
COMMENT ON FUNCTION require_membership(oid) IS 'Fails, naming the GRANT, unless the current user may act for an owner';

CREATE FUNCTION give_to_owner(p_kind text, p_name text, p_owner name) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    schema_oid oid := quote_ident(module_schema())::regnamespace;
    object_owner oid;
    owner_oid oid := (SELECT oid FROM pg_roles WHERE rolname = p_owner);
    may_use boolean;
    may_create boolean;
BEGIN
    SELECT proowner INTO object_owner FROM pg_proc WHERE pronamespace = schema_oid AND proname = p_name
    UNION ALL
    SELECT relowner FROM pg_class WHERE relnamespace = schema_oid AND relname = p_name;
    IF object_owner = owner_oid THEN
        RETURN;
    END IF;
    PERFORM require_membership(owner_oid);
    SELECT bool_or(acl.privilege_type = 'USAGE') INTO may_use
    FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) acl
    WHERE n.oid = schema_oid AND acl.grantee = owner_oid;
    -- A superuser may make over without this; else the new owner needs CREATE on the schema for this moment.
    may_create := has_schema_privilege(owner_oid, schema_oid, 'CREATE') OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    IF may_use IS NOT TRUE OR NOT may_create THEN
        -- grants on one schema by two transactions at once fail with "tuple concurrently updated", so they queue here
        PERFORM pg_advisory_xact_lock(module_key(), 0);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', module_schema(), p_owner);
    END IF;
    IF NOT may_create THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %I TO %I', module_schema(), p_owner);
    END IF;
    EXECUTE format('ALTER %s %I.%I OWNER TO %I', p_kind, module_schema(), p_name, p_owner);
    IF NOT may_create THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM %I', module_schema(), p_owner);
    END IF;
    IF p_kind = 'FUNCTION' THEN
        EXECUTE format('REVOKE ALL ON FUNCTION %I.%I FROM PUBLIC', module_schema(), p_name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.%I TO %I', module_schema(), p_name, current_user);
    END IF;
END $$;
COMMENT ON FUNCTION give_to_owner(text, text, name) IS 'Makes a refresh function or a defining view the property of the owner of the materialized view';

CREATE FUNCTION difference_by_hash_text(p_mv text, p_source text, p_columns name[], p_hashed text[], p_first_part text, p_more_parts text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    -- Rows are paired by hash and by their number among rows of equal hash. Whether a pair is equal is decided by
    -- comparing the rows byte for byte, so the result is right for any pairing; the hash only makes good pairs likely.
    SELECT format($text$
    WITH %8$sfresh AS (
        -- the query's rows
        SELECT image, hash, row_number() OVER (PARTITION BY hash) AS occurrence
        FROM (SELECT %3$I AS image, hash_record_extended(ROW(%4$s), 0) AS hash FROM %2$s AS %3$I) AS hashed
    ), stored AS (
        -- the materialized view's rows
        SELECT row_address, image, hash, row_number() OVER (PARTITION BY hash) AS occurrence
        FROM (SELECT %3$I.ctid AS row_address, %3$I AS image, hash_record_extended(ROW(%4$s), 0) AS hash
              FROM ONLY %1$s AS %3$I) AS hashed
    ), difference AS MATERIALIZED (
        SELECT stored.row_address, fresh.hash IS NOT NULL AS is_fresh, fresh.image
        FROM fresh FULL JOIN stored ON fresh.hash = stored.hash AND fresh.occurrence = stored.occurrence
        WHERE (fresh.image *= stored.image) IS NOT TRUE
    ), deleted AS (
        DELETE FROM ONLY %1$s AS target USING difference WHERE target.ctid = difference.row_address RETURNING 1
    ), inserted AS (
        -- reading the number of deletions first lets them happen first: unique indexes see no passing duplicate
        INSERT INTO %1$s (%5$s)
        SELECT %6$s FROM difference, (SELECT count(*) FROM deleted) AS deletions WHERE is_fresh
        RETURNING 1
    )%7$s
    SELECT pg_current_snapshot(), (SELECT count(*) FROM inserted), 0, (SELECT count(*) FROM deleted)
    INTO STRICT snapshot, rows_inserted, rows_updated, rows_deleted;$text$,
        p_mv, p_source, free_alias('a_row', p_columns),
        (SELECT string_agg(format(h, free_alias('a_row', p_columns)), ', ' ORDER BY n) FROM unnest(p_hashed) WITH ORDINALITY u (h, n)),
        (SELECT string_agg(format('%I', c), ', ' ORDER BY n) FROM unnest(p_columns) WITH ORDINALITY u (c, n)),
        (SELECT string_agg(format('(difference.image).%I', c), ', ' ORDER BY n) FROM unnest(p_columns) WITH ORDINALITY u (c, n)),
        p_more_parts, p_first_part)
$$;
COMMENT ON FUNCTION difference_by_hash_text(text, text, name[], text[], text, text) IS 'The statement that makes a materialized view equal its query, for rows without a key';

CREATE FUNCTION difference_by_key_text(
    p_mv text, p_source text, p_columns name[], p_key name[], p_operators text[], p_update boolean, p_index text,
    p_first_part text, p_more_parts text
) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    -- Each stored row has one key, each fresh row is paired with at most one stored row. Were there two fresh rows for one
    -- key, pairs would hide one of them: the row counts give that away, and the refresh fails rather than be wrong.
    SELECT format($text$
    WITH %12$sfresh AS MATERIALIZED (
        -- the query's rows
        SELECT %3$I AS image, true AS is_fresh FROM %2$s AS %3$I
    ), difference AS MATERIALIZED (
        SELECT %3$I.ctid AS row_address, fresh.is_fresh IS NOT NULL AS is_fresh, fresh.image
        FROM fresh FULL JOIN ONLY %1$s AS %3$I ON %4$s
        WHERE (fresh.image *= %3$I) IS NOT TRUE
    ), deleted AS (
        DELETE FROM ONLY %1$s AS target USING difference
        WHERE target.ctid = difference.row_address%5$s
        RETURNING 1
    ), updated AS (
        UPDATE ONLY %1$s AS target SET (%6$s) = ROW(%7$s) FROM difference
        WHERE target.ctid = difference.row_address AND difference.is_fresh%8$s
        RETURNING 1
    ), inserted AS (
        -- reading the number of deletions first lets them happen first: unique indexes see no passing duplicate
        INSERT INTO %1$s (%6$s)
        SELECT %7$s FROM difference, (SELECT count(*) FROM deleted) AS deletions WHERE is_fresh%9$s
        RETURNING 1
    )%11$s
    SELECT pg_current_snapshot(), (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated), (SELECT count(*) FROM deleted),
           (SELECT count(*) FROM fresh), (SELECT count(*) FROM ONLY %1$s)
    INTO STRICT snapshot, rows_inserted, rows_updated, rows_deleted, fresh_count, stored_count;
    IF stored_count OPERATOR(pg_catalog.+) rows_inserted OPERATOR(pg_catalog.-) rows_deleted OPERATOR(pg_catalog.<>) fresh_count THEN
        RAISE EXCEPTION 'the query returns several rows for one key of the unique index %%', %10$L
            USING ERRCODE = 'unique_violation', HINT = 'Drop the unique index, or correct the query.';
    END IF;$text$,
        p_mv, p_source, free_alias('a_row', p_columns),
        (SELECT string_agg(format('(fresh.image).%1$I %2$s %3$I.%1$I', k, o, free_alias('a_row', p_columns)), ' AND ' ORDER BY n)
         FROM unnest(p_key, p_operators) WITH ORDINALITY u (k, o, n)),
        CASE WHEN p_update THEN ' AND NOT difference.is_fresh' ELSE '' END,
        (SELECT string_agg(format('%I', c), ', ' ORDER BY n) FROM unnest(p_columns) WITH ORDINALITY u (c, n)),
        (SELECT string_agg(format('(difference.image).%I', c), ', ' ORDER BY n) FROM unnest(p_columns) WITH ORDINALITY u (c, n)),
        CASE WHEN p_update THEN '' ELSE ' AND false' END,
        CASE WHEN p_update THEN ' AND row_address IS NULL' ELSE '' END,
        p_index, p_more_parts, p_first_part)
$$;
COMMENT ON FUNCTION difference_by_key_text(text, text, name[], name[], text[], boolean, text, text, text) IS 'The statement that makes a materialized view equal its query, pairing rows by a unique index';
