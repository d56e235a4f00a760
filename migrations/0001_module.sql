-- The module schema itself. Every statement of the migrations is unqualified: the installing connection has
-- search_path = the module schema, pg_temp, and SET search_path FROM CURRENT pins exactly that on every function.

CREATE FUNCTION module_schema() RETURNS name
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN current_schema();
COMMENT ON FUNCTION module_schema() IS 'The name of the schema in which this module is installed';
