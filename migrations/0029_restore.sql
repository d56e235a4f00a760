-- After a restore into another cluster.

CREATE FUNCTION forget_stray_numbers() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- A dump has relations by name, but those that had been dropped by hand by number, which in another cluster is anybody's,
    -- now or later. Such a reference is told by what it should be: the table of that name, or at least one with the view's columns.
    UPDATE materialized_view_settings s
    -- a number that no relation will have for long
    SET mv_relation = (4294967295 - s.mv_id)::oid::regclass
    FROM materialized_view_state t
    WHERE t.mv_id = s.mv_id AND s.mv_relation IS NOT NULL
      AND (t.system_identifier <> (SELECT system_identifier FROM pg_control_system()) OR t.incarnation <> own_incarnation())
      AND NOT EXISTS (
          SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = s.mv_relation AND c.relkind = CASE s.kind WHEN 'native' THEN 'm' ELSE 'r' END
            AND ((n.nspname, c.relname) = (s.mv_schema, s.mv_name)
                 OR (s.kind = 'table' AND column_difference(c.oid, s.v_relation) IS NULL)));
END $$;
COMMENT ON FUNCTION forget_stray_numbers() IS 'Makes sure that no materialized view that was dropped by hand is taken for another relation';
