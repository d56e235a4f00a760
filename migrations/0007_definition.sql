-- What a materialized view is made of, read from the catalog: the relations its query goes through, its columns, its key.

CREATE FUNCTION read_relations(p_root oid) RETURNS TABLE (relation oid, relkind "char")
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH RECURSIVE reads AS (
        SELECT p_root AS relation
        UNION
        SELECT d.refobjid
        FROM reads r
        JOIN pg_class c ON c.oid = r.relation AND (c.relkind = 'v' OR r.relation = p_root)
        JOIN pg_rewrite w ON w.ev_class = r.relation
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.relation
    )
    SELECT c.oid, c.relkind FROM reads JOIN pg_class c ON c.oid = reads.relation
$$;
COMMENT ON FUNCTION read_relations(oid) IS 'A view and every relation its query reads, through views of any depth';

CREATE FUNCTION has_hash(p_type oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN t.typtype = 'd' THEN has_hash(t.typbasetype)
        WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN has_hash(t.typelem)
        WHEN t.typtype = 'e' OR t.oid = 'varchar'::regtype THEN true
        ELSE EXISTS (
            SELECT FROM pg_opclass o
            JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'hash'
            JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amprocnum = 2
                            AND p.amproclefttype = t.oid AND p.amprocrighttype = t.oid
            WHERE o.opcintype = t.oid AND o.opcdefault)
    END
    FROM pg_type t WHERE t.oid = p_type
$$;
COMMENT ON FUNCTION has_hash(oid) IS 'Whether values of a type can be hashed as they are (json, xml, point and others can not)';

CREATE FUNCTION has_equality(p_type oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN t.typtype = 'd' THEN has_equality(t.typbasetype)
        WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN has_equality(t.typelem)
        WHEN t.typtype = 'c' THEN (
            SELECT coalesce(bool_and(has_equality(a.atttypid)), true)
            FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
        WHEN t.typtype IN ('e', 'r', 'm') OR t.oid = 'varchar'::regtype THEN true
        ELSE EXISTS (
            SELECT FROM pg_opclass o
            JOIN pg_am m ON m.oid = o.opcmethod AND m.amname IN ('btree', 'hash')
            WHERE o.opcintype = t.oid AND o.opcdefault)
    END
    FROM pg_type t WHERE t.oid = p_type
$$;
COMMENT ON FUNCTION has_equality(oid) IS 'Whether EXCEPT can compare values of a type';

CREATE FUNCTION relation_columns(p_relation oid) RETURNS TABLE (
    ordinal bigint, column_name name, column_type oid, type_modifier integer, collation_id oid, is_not_null boolean
)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT row_number() OVER (ORDER BY attnum), attname, atttypid, atttypmod, attcollation, attnotnull
    FROM pg_attribute
    WHERE attrelid = p_relation AND attnum > 0 AND NOT attisdropped
$$;
COMMENT ON FUNCTION relation_columns(oid) IS 'The columns of a relation in their order';

CREATE FUNCTION column_difference(p_mv oid, p_view oid) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN v.column_name IS NULL THEN format('column "%s" of the materialized view is not in the defining view', m.column_name)
        WHEN m.column_name IS NULL THEN format('column "%s" of the defining view is not in the materialized view', v.column_name)
        WHEN m.column_name <> v.column_name THEN
            format('column %s is "%s" in the materialized view and "%s" in the defining view', v.ordinal, m.column_name, v.column_name)
        ELSE format('column "%s" is %s in the materialized view and %s in the defining view', v.column_name,
                    format_type(m.column_type, m.type_modifier), format_type(v.column_type, v.type_modifier))
    END
    FROM relation_columns(p_view) v
    FULL JOIN relation_columns(p_mv) m USING (ordinal)
    WHERE (v.column_name, v.column_type, v.type_modifier, v.collation_id)
          IS DISTINCT FROM (m.column_name, m.column_type, m.type_modifier, m.collation_id)
    ORDER BY ordinal
    LIMIT 1
$$;
COMMENT ON FUNCTION column_difference(oid, oid) IS 'The first column in which a materialized view and its defining view differ, in words, or NULL';

CREATE FUNCTION matching_key(p_mv oid) RETURNS TABLE (key_index oid, key_columns name[], key_operators text[], is_only_unique_index boolean)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- the narrowest unique index on plain columns that is checked at once and covers every row
    SELECT i.indexrelid, k.names, k.operators,
           NOT EXISTS (SELECT FROM pg_index other
                       WHERE other.indrelid = p_mv AND other.indexrelid <> i.indexrelid
                         AND (other.indisunique OR other.indisexclusion))
    FROM pg_index i
    CROSS JOIN LATERAL (
        SELECT array_agg(a.attname ORDER BY n.ordinal) AS names,
               array_agg(format('OPERATOR(%I.%s)', ns.nspname, op.oprname) ORDER BY n.ordinal) AS operators
        FROM generate_series(0, i.indnkeyatts - 1) AS n (ordinal)
        -- by another collation than the column's, the index would tell other rows apart than the join does
        JOIN pg_attribute a ON a.attrelid = p_mv AND a.attnum = i.indkey[n.ordinal]
                           AND a.attcollation = i.indcollation[n.ordinal]
                           -- an index on, say, json[] can be made as long as there are no two values to compare
                           AND has_equality(a.atttypid)
        JOIN pg_opclass o ON o.oid = i.indclass[n.ordinal]
        JOIN pg_amop ao ON ao.amopfamily = o.opcfamily AND ao.amopstrategy = 3
                       AND ao.amoplefttype = o.opcintype AND ao.amoprighttype = o.opcintype
        JOIN pg_operator op ON op.oid = ao.amopopr AND (op.oprcanhash OR op.oprcanmerge)
        JOIN pg_namespace ns ON ns.oid = op.oprnamespace
    ) k
    WHERE i.indrelid = p_mv AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indisready
      AND i.indpred IS NULL AND i.indexprs IS NULL AND cardinality(k.names) = i.indnkeyatts
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
    LIMIT 1
$$;
COMMENT ON FUNCTION matching_key(oid) IS 'The unique index by which a complete refresh in place pairs stored and fresh rows, if there is one';

CREATE FUNCTION called_functions(p_views oid[]) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN array(
        SELECT DISTINCT CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE (SELECT o.oprcode FROM pg_operator o WHERE o.oid = d.refobjid) END
        FROM pg_rewrite w
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
        WHERE w.ev_class = ANY (p_views));
END $$;
COMMENT ON FUNCTION called_functions(oid[]) IS 'The functions that these views call, as such or by an operator, but for those that are built in';

CREATE FUNCTION definition_fingerprint(p_mv_id integer, p_mv oid, p_view oid, p_read_views oid[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- Whatever the refresh functions were generated from, as cheap to compare as it gets: it runs with every refresh.
    -- A replaced view gets a new rule row, hence its xmin; so does a refresh function that its owner altered.
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN (
        SELECT concat_ws(' ',
            (SELECT format('%s.%s %s %s', c.relnamespace::regnamespace, c.relname, pg_get_userbyid(c.relowner), c.relrowsecurity AND c.relforcerowsecurity)
             FROM pg_class c WHERE c.oid = p_mv),
            (SELECT format('%s.%s', c.relnamespace::regnamespace, c.relname) FROM pg_class c WHERE c.oid = p_view),
            (SELECT md5(string_agg(concat_ws(':', attrelid, attnum, attname, atttypid, atttypmod, attnotnull, attisdropped), ',' ORDER BY attrelid, attnum))
             FROM pg_attribute WHERE attrelid IN (p_mv, p_view) AND attnum > 0),
            (SELECT md5(string_agg(concat_ws(':', oid, xmin), ',' ORDER BY oid)) FROM pg_rewrite WHERE ev_class = ANY (p_read_views)),
            (SELECT md5(string_agg(concat_ws(':', indexrelid, indisunique, indisvalid), ',' ORDER BY indexrelid))
             FROM pg_index WHERE indrelid = p_mv AND (indisunique OR indisexclusion)),
            (SELECT md5(string_agg(concat_ws(':', oid, xmin), ',' ORDER BY oid))
             FROM pg_proc
             WHERE proname IN ('complete_in_place$' || p_mv_id, 'complete_rebuild$' || p_mv_id, 'complete_by_query$' || p_mv_id, 'create_indexes$' || p_mv_id, 'verify$' || p_mv_id)
               AND pronamespace = quote_ident(current_schema())::regnamespace))
    );
END $$;
COMMENT ON FUNCTION definition_fingerprint(integer, oid, oid, oid[]) IS 'Changes whenever the refresh functions of a materialized view have to be generated again';

CREATE FUNCTION definition_text(p_view oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    own_path text := current_setting('search_path');
    definition text;
BEGIN
    -- every name comes out qualified, whoever reads it later
    PERFORM set_config('search_path', 'pg_catalog', true);
    definition := pg_catalog.rtrim(pg_catalog.pg_get_viewdef(p_view), ';');
    PERFORM pg_catalog.set_config('search_path', own_path, true);
    RETURN definition;
END $$;
COMMENT ON FUNCTION definition_text(oid) IS 'The query of a view with every name qualified';
