-- What users have added to a materialized view, as statements that put it back after the table was made again.

CREATE FUNCTION constraint_extras(p_relation regclass) RETURNS TABLE (step integer, name text, statement text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE k.contype WHEN 'f' THEN 30 ELSE 10 END, k.conname::text,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', qualified_name(p_relation), k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k WHERE k.conrelid = p_relation AND k.contype IN ('p', 'u', 'x', 'c', 'f')
    UNION ALL
    SELECT 11, a.attname, format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', qualified_name(p_relation), a.attname)
    FROM pg_attribute a WHERE a.attrelid = p_relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
    UNION ALL
    SELECT 20, c.relname, pg_get_indexdef(i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = p_relation
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = p_relation)
    UNION ALL
    SELECT 21, c.relname, format('ALTER TABLE %s CLUSTER ON %I', qualified_name(p_relation), c.relname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = p_relation AND i.indisclustered
    UNION ALL
    SELECT 22, '', format('ALTER TABLE %s REPLICA IDENTITY %s', qualified_name(p_relation),
                          CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE format('USING INDEX %I', x.relname) END)
    FROM pg_class c
    LEFT JOIN (pg_index i JOIN pg_class x ON x.oid = i.indexrelid) ON i.indrelid = c.oid AND i.indisreplident
    WHERE c.oid = p_relation AND c.relreplident <> 'd'
$$;
COMMENT ON FUNCTION constraint_extras(regclass) IS 'Constraints and indexes of a materialized view as statements';

CREATE FUNCTION behaviour_extras(p_relation regclass) RETURNS TABLE (step integer, name text, statement text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT 1, '', format('ALTER TABLE %s SET (%s)', qualified_name(p_relation), (
               SELECT string_agg(format('%s = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ') FROM unnest(c.reloptions) o))
    FROM pg_class c WHERE c.oid = p_relation AND c.reloptions IS NOT NULL
    UNION ALL
    SELECT 2, '', format('ALTER TABLE %s SET UNLOGGED', qualified_name(p_relation))
    FROM pg_class c WHERE c.oid = p_relation AND c.relpersistence = 'u'
    UNION ALL
    SELECT 3, '', format('ALTER TABLE %s SET TABLESPACE %I', qualified_name(p_relation), t.spcname)
    FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = p_relation
    UNION ALL
    SELECT 4, a.attname, format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', qualified_name(p_relation), a.attname, a.attstattarget)
    FROM pg_attribute a WHERE a.attrelid = p_relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0
    UNION ALL
    SELECT 5, s.stxname, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s WHERE s.stxrelid = p_relation
    UNION ALL
    SELECT 40, t.tgname, concat_ws(E';\n', pg_get_triggerdef(t.oid), format(
               'ALTER TABLE %s %s TRIGGER %I', qualified_name(p_relation),
               CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END, t.tgname))
    FROM pg_trigger t WHERE t.tgrelid = p_relation AND NOT t.tgisinternal
$$;
COMMENT ON FUNCTION behaviour_extras(regclass) IS 'Storage, statistics and triggers of a materialized view as statements';

CREATE FUNCTION access_extras(p_relation regclass) RETURNS TABLE (step integer, name text, statement text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- row security first: grants without it would show what it hides
    SELECT 50, '', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', qualified_name(p_relation))
    FROM pg_class c WHERE c.oid = p_relation AND c.relrowsecurity
    UNION ALL
    SELECT 51, '', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', qualified_name(p_relation))
    FROM pg_class c WHERE c.oid = p_relation AND c.relforcerowsecurity
    UNION ALL
    SELECT 52, p.polname, concat(
               format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, qualified_name(p_relation),
                      CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                      CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                      (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(p.polroles) r)),
               ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
               ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    FROM pg_policy p WHERE p.polrelid = p_relation
    UNION ALL
    SELECT 60, concat_ws(' ', g.grantee, g.attname, g.privilege_type),
           format('GRANT %s%s ON %s TO %s%s', g.privilege_type, ' (' || quote_ident(g.attname) || ')', qualified_name(p_relation),
                  CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                  CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM (
        SELECT NULL::name AS attname, acl.*, c.relowner FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl WHERE c.oid = p_relation
        UNION ALL
        SELECT a.attname, acl.*, c.relowner
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN LATERAL aclexplode(a.attacl) acl
        WHERE c.oid = p_relation AND NOT a.attisdropped
    ) AS g
    WHERE g.grantee <> g.relowner
    UNION ALL
    SELECT 70, '', format('COMMENT ON TABLE %s IS %L', qualified_name(p_relation), obj_description(p_relation, 'pg_class'))
    WHERE obj_description(p_relation, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 71, a.attname, format('COMMENT ON COLUMN %s.%I IS %L', qualified_name(p_relation), a.attname, col_description(p_relation, a.attnum))
    FROM pg_attribute a
    WHERE a.attrelid = p_relation AND a.attnum > 0 AND col_description(p_relation, a.attnum) IS NOT NULL
$$;
COMMENT ON FUNCTION access_extras(regclass) IS 'Row security, grants and comments of a materialized view as statements';

CREATE FUNCTION relation_extras(p_relation regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce(jsonb_agg(e.statement ORDER BY e.step, e.name), '[]')
    FROM (SELECT * FROM constraint_extras(p_relation)
          UNION ALL SELECT * FROM behaviour_extras(p_relation)
          UNION ALL SELECT * FROM access_extras(p_relation)) AS e
$$;
COMMENT ON FUNCTION relation_extras(regclass) IS 'All that a plain CREATE TABLE AS would lose, as statements in the order in which they have to run';
