-- An owner can never touch another's dictionary rows: row security decides in the name of whoever runs the statement.
-- The module's own role owns the tables and is not subject to it.

CREATE FUNCTION may_act_for(p_mv_relation regclass, p_owner regrole) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN pg_has_role(coalesce((SELECT relowner FROM pg_class WHERE oid = p_mv_relation AND relkind IN ('r', 'm', 'p')), p_owner), 'USAGE');
COMMENT ON FUNCTION may_act_for(regclass, regrole) IS 'Whether the current user owns a materialized view, or is a member of its owner';

ALTER TABLE materialized_view_settings ENABLE ROW LEVEL SECURITY;
CREATE POLICY everyone_reads ON materialized_view_settings FOR SELECT USING (true);
CREATE POLICY owner_inserts ON materialized_view_settings FOR INSERT
    WITH CHECK (may_act_for(mv_relation, owner));
CREATE POLICY owner_updates ON materialized_view_settings FOR UPDATE
    USING (may_act_for(mv_relation, owner)) WITH CHECK (may_act_for(mv_relation, owner));
CREATE POLICY owner_deletes ON materialized_view_settings FOR DELETE
    USING (may_act_for(mv_relation, owner));

ALTER TABLE refresh_permits ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner_permits ON refresh_permits FOR INSERT
    WITH CHECK (xid = pg_current_xact_id() AND EXISTS (
        SELECT FROM materialized_view_settings s
        WHERE s.mv_id = refresh_permits.mv_id AND may_act_for(s.mv_relation, s.owner)));
