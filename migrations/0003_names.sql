-- Names: how text given by users becomes relations, in the search_path of the caller.

CREATE FUNCTION parse_name(p_name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    parts text[];
BEGIN
    IF p_name IS NULL OR btrim(p_name) = '' THEN
        RAISE EXCEPTION 'a name is missing' USING ERRCODE = 'invalid_name';
    END IF;
    BEGIN
        parts := parse_ident(p_name);
    EXCEPTION WHEN invalid_parameter_value THEN
        RAISE EXCEPTION '%', format('"%s" is not a valid name', p_name)
            USING ERRCODE = 'invalid_name',
                  HINT = 'Write it as in SQL: lower-case letters, or in double quotes; with a schema as schema.name.';
    END;
    IF cardinality(parts) > 2 THEN
        RAISE EXCEPTION '%', format('"%s" has too many parts', p_name)
            USING ERRCODE = 'invalid_name', HINT = 'Write name or schema.name.';
    END IF;
    IF EXISTS (SELECT FROM unnest(parts) part WHERE octet_length(part) > 63) THEN
        RAISE EXCEPTION '%', format('"%s" is longer than 63 bytes', p_name)
            USING ERRCODE = 'name_too_long', HINT = 'PostgreSQL would cut it off; choose a shorter name.';
    END IF;
    RETURN parts;
END $$;
COMMENT ON FUNCTION parse_name(text) IS 'Splits name or schema.name by the rules of SQL; refuses what PostgreSQL would cut off';

CREATE FUNCTION suffixed_name(p_name text, p_suffix text) RETURNS name
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    -- PostgreSQL cuts names off at 63 bytes, which would take the suffix away
    SELECT (left(p_name, n) || p_suffix)::name
    FROM generate_series(length(p_name), 0, -1) n
    WHERE octet_length(left(p_name, n) || p_suffix) <= 63
    LIMIT 1
$$;
COMMENT ON FUNCTION suffixed_name(text, text) IS 'A name with a suffix, shortened in front of it to 63 bytes';

CREATE FUNCTION relation_in_path(p_path text, p_name text) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    relation regclass;
BEGIN
    PERFORM parse_name(p_name);
    PERFORM set_config('search_path', p_path, true);
    relation := pg_catalog.to_regclass(p_name);
    PERFORM pg_catalog.set_config('search_path', own_path, true);
    RETURN relation;
END $$;
COMMENT ON FUNCTION relation_in_path(text, text) IS 'The relation that a name means in a search_path, or NULL';

CREATE FUNCTION schema_in_path(p_path text, p_name text) RETURNS name
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    parts text[] := parse_name(p_name);
    schema_name name;
BEGIN
    IF cardinality(parts) = 2 THEN
        schema_name := parts[1];
        IF to_regnamespace(quote_ident(parts[1])) IS NULL THEN
            RAISE EXCEPTION '%', format('schema "%s" does not exist', parts[1]) USING ERRCODE = 'invalid_schema_name';
        END IF;
    ELSE
        PERFORM set_config('search_path', p_path, true);
        schema_name := pg_catalog.current_schema();
        PERFORM pg_catalog.set_config('search_path', own_path, true);
        IF schema_name IS NULL THEN
            RAISE EXCEPTION 'no schema has been selected to create in'
                USING ERRCODE = 'invalid_schema_name', HINT = 'Set search_path, or write schema.name.';
        END IF;
    END IF;
    RETURN schema_name;
END $$;
COMMENT ON FUNCTION schema_in_path(text, text) IS 'The schema in which a name would be created in a search_path';

CREATE FUNCTION qualified_name(p_relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = p_relation
$$;
COMMENT ON FUNCTION qualified_name(oid) IS 'schema.name of a relation, quoted where needed, whatever the search_path';

CREATE FUNCTION shown_name(p_view materialized_view_settings) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN coalesce(
        (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = p_view.mv_relation AND c.relkind IN ('r', 'm', 'p')),
        format('%I.%I', p_view.mv_schema, p_view.mv_name));
END $$;
COMMENT ON FUNCTION shown_name(materialized_view_settings) IS 'schema.name of a materialized view: the present one, or the last if it is gone';

CREATE FUNCTION find_materialized_view(p_path text, p_name text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    parts text[] := parse_name(p_name);
    found_id integer;
BEGIN
    SELECT s.mv_id INTO found_id
    FROM materialized_view_settings s
    WHERE s.mv_relation = relation_in_path(p_path, p_name);
    IF found_id IS NULL THEN
        -- a row whose relation is gone: kept for an upgrade, or dropped by hand
        SELECT s.mv_id INTO found_id
        FROM materialized_view_settings s
        WHERE s.mv_name = parts[cardinality(parts)]
          AND (cardinality(parts) = 1 OR s.mv_schema = parts[1])
          AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.mv_relation AND c.relkind IN ('r', 'm', 'p'))
        ORDER BY s.mv_id
        LIMIT 1;
    END IF;
    RETURN found_id;
END $$;
COMMENT ON FUNCTION find_materialized_view(text, text) IS 'The mv_id that a name means in a search_path, or NULL';

CREATE FUNCTION require_materialized_view(p_path text, p_name text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    found_id integer := find_materialized_view(p_path, p_name);
    relation regclass;
BEGIN
    IF found_id IS NOT NULL THEN
        RETURN found_id;
    END IF;
    relation := relation_in_path(p_path, p_name);
    IF relation IS NULL THEN
        RAISE EXCEPTION '%', format('materialized view "%s" does not exist', p_name)
            USING ERRCODE = 'undefined_table',
                  HINT = format('SELECT mv_schema, mv_name FROM %I.materialized_views shows those that do.', module_schema());
    END IF;
    RAISE EXCEPTION '%', format('"%s" is not a materialized view of this module', p_name)
        USING ERRCODE = 'wrong_object_type',
              HINT = 'A native MATERIALIZED VIEW is taken in by adopt_materialized_view.';
END $$;
COMMENT ON FUNCTION require_materialized_view(text, text) IS 'As find_materialized_view, but an unknown name is an error';
