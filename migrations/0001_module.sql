-- The module schema itself. Every statement of the migrations is unqualified: the installing connection has
-- search_path = the module schema, pg_temp, and SET search_path FROM CURRENT pins exactly that on every function.

CREATE FUNCTION module_schema() RETURNS name
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN current_schema();
COMMENT ON FUNCTION module_schema() IS 'The name of the schema in which this module is installed';

CREATE FUNCTION module_key() RETURNS integer
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- PL/pgSQL keeps the plan; an SQL function would be planned with every refresh
    RETURN quote_ident(current_schema())::regnamespace::oid::bigint::bit(32)::integer;
END $$;
COMMENT ON FUNCTION module_key() IS 'The first key of this installation''s advisory locks; the second is an mv_id, or 0 for grants';
