-- Indexes around a rebuild: dropped before the load and created after it, by the user's own functions
-- MtDrop<name>Indexes() and MtCreate<name>Indexes() in the materialized view's schema where there are such, else from
-- their definitions. These run inside refresh functions, with the owner's rights.

CREATE FUNCTION index_hook(p_relation regclass, p_verb text) RETURNS regprocedure
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- Names are tried as written in SQL without quotes (lower case) and exactly. A hook of another, ordinary role is
    -- nobody to run with the owner's rights.
    SELECT p.oid::regprocedure
    FROM pg_class c
    JOIN pg_proc p ON p.pronamespace = c.relnamespace AND p.pronargs = 0 AND p.prokind = 'f'
    JOIN pg_roles r ON r.oid = p.proowner
    WHERE c.oid = p_relation
      AND p.proname IN (lower(format('mt%s%sindexes', p_verb, c.relname)), format('Mt%s%sIndexes', initcap(p_verb), c.relname))
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

CREATE FUNCTION drop_indexes(p_relation regclass) RETURNS text[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    hook regprocedure := index_hook(p_relation, 'drop');
    index_row record;
    definitions text[] := '{}';
BEGIN
    IF hook IS NOT NULL THEN
        EXECUTE format('SELECT %s', hook);
    ELSE
        FOR index_row IN SELECT * FROM index_definitions(p_relation) LOOP
            EXECUTE format('DROP INDEX %s', index_row.index_name);
            definitions := definitions || index_row.definition;
        END LOOP;
    END IF;
    RETURN definitions;
END $$;
COMMENT ON FUNCTION drop_indexes(regclass) IS 'Drops the indexes of a materialized view; returns the statements that make them again';

CREATE FUNCTION create_indexes(p_relation regclass, p_definitions text[]) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    hook regprocedure := index_hook(p_relation, 'create');
    definition text;
BEGIN
    FOREACH definition IN ARRAY p_definitions LOOP
        EXECUTE definition;
    END LOOP;
    IF hook IS NOT NULL THEN
        EXECUTE format('SELECT %s', hook);
    END IF;
END $$;
COMMENT ON FUNCTION create_indexes(regclass, text[]) IS 'Creates the indexes of a materialized view again';
