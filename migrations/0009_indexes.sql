-- Indexes around a rebuild: dropped before the load and created after it, by the user's own functions
-- MtDrop<name>Indexes() and MtCreate<name>Indexes() in the materialized view's schema where there are both, else from
-- their definitions. These run inside refresh functions, with the owner's rights.

CREATE FUNCTION index_hook(p_relation regclass, p_verb text) RETURNS regprocedure
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- Names are tried as written in SQL without quotes (lower case) and exactly; ::name cuts off as PostgreSQL did when
    -- the function was made. A hook of another, ordinary role is nobody to run with the owner's rights.
    SELECT p.oid::regprocedure
    FROM pg_class c
    JOIN pg_proc p ON p.pronamespace = c.relnamespace AND p.pronargs = 0 AND p.prokind = 'f'
    JOIN pg_roles r ON r.oid = p.proowner
    WHERE c.oid = p_relation
      AND p.proname IN (lower(format('mt%s%sindexes', p_verb, c.relname))::name, format('Mt%s%sIndexes', initcap(p_verb), c.relname)::name)
      AND (p.proowner = c.relowner OR r.rolsuper)
    ORDER BY p.proname
    LIMIT 1
$$;
COMMENT ON FUNCTION index_hook(regclass, text) IS 'The user''s function that drops or creates the indexes of a materialized view, or NULL';

CREATE FUNCTION index_definitions(p_relation regclass) RETURNS TABLE (index_name text, definition text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- Only what can be made again exactly as it was: indexes of constraints, of replica identity and of CLUSTER stay.
    SELECT format('%I.%I', n.nspname, c.relname),
           concat_ws(E';\n',
               format('SET LOCAL default_tablespace = %L', coalesce(t.spcname, '')),
               pg_get_indexdef(i.indexrelid),
               'COMMENT ON INDEX ' || format('%I.%I', n.nspname, c.relname) || ' IS '
                   || quote_literal(obj_description(i.indexrelid, 'pg_class')))
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
    WHERE i.indrelid = p_relation AND i.indisvalid
      AND NOT i.indisreplident AND NOT i.indisclustered
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    ORDER BY i.indexrelid
$$;
COMMENT ON FUNCTION index_definitions(regclass) IS 'The indexes that a rebuild drops, with the statements that make them again';

CREATE FUNCTION call_hook(p_hook regprocedure, p_relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    command text := format('SELECT %s', p_hook);
BEGIN
    -- hooks name table and indexes as they were written in the table's schema
    PERFORM set_config('search_path', format('%I, pg_temp', n.nspname), true)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p_relation;
    EXECUTE command;
    PERFORM pg_catalog.set_config('search_path', own_path, true);
END $$;
COMMENT ON FUNCTION call_hook(regprocedure, regclass) IS 'Calls a user''s index function with the materialized view''s schema as search_path';

CREATE FUNCTION drop_indexes(p_relation regclass) RETURNS text[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    hook regprocedure := index_hook(p_relation, 'drop');
    index_row record;
    definitions text[] := '{}';
BEGIN
    -- with only one of the two, indexes would be lost, or made twice
    IF hook IS NOT NULL AND index_hook(p_relation, 'create') IS NOT NULL THEN
        PERFORM call_hook(hook, p_relation);
        definitions := NULL;
    ELSE
        FOR index_row IN SELECT * FROM index_definitions(p_relation) LOOP
            EXECUTE format('DROP INDEX %s', index_row.index_name);
            definitions := definitions || index_row.definition;
        END LOOP;
    END IF;
    RETURN definitions;
END $$;
COMMENT ON FUNCTION drop_indexes(regclass) IS 'Drops the indexes of a materialized view; returns the statements that make them again, NULL if that is for the hook';

CREATE FUNCTION create_indexes(p_relation regclass, p_definitions text[]) RETURNS void
-- pinned, so that what the definitions set ends with this function
LANGUAGE plpgsql SET search_path FROM CURRENT SET default_tablespace TO '' AS $$
DECLARE
    definition text;
BEGIN
    IF p_definitions IS NULL THEN
        PERFORM call_hook(index_hook(p_relation, 'create'), p_relation);
        RETURN;
    END IF;
    FOREACH definition IN ARRAY p_definitions LOOP
        EXECUTE definition;
    END LOOP;
END $$;
COMMENT ON FUNCTION create_indexes(regclass, text[]) IS 'Creates the indexes of a materialized view again, by its hook if there are no definitions';
