-- Materialized view logs: what they are, which tables can have one, and who may ask for one.

CREATE TABLE materialized_view_logs (
    log_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    base_table regclass UNIQUE NOT NULL,
    -- the name last seen, for messages after the table was dropped
    base_name text NOT NULL,
    -- Columns are known by number: a log table calls them c<number>, whatever their names become. The names, in the same
    -- order, are those that the trigger function was generated for.
    logged_attnums smallint[] NOT NULL,
    logged_columns name[] NOT NULL,
    -- a view may use the log only if this transaction is visible in its last_snapshot, see log_reaches
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- rows of transactions below this one may have been pruned
    pruned_below xid8 NOT NULL DEFAULT '0',
    -- the transaction ids in the log are of this dictionary, and not of one whose dump was loaded
    incarnation uuid NOT NULL DEFAULT own_incarnation(),
    -- what the log was made of, see log_fingerprint; NULL while it is being made
    fingerprint text,
    -- asked for by a user, so not dropped when no materialized view reads it
    is_kept boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE materialized_view_logs IS 'One row per base table whose changes are logged, in the table log$<log_id>';

-- As refresh_permits, for logs: the proof, given by row security in the caller's own name, that the caller may have the
-- changes of a table logged.
CREATE TABLE log_permits (
    base_table oid NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (base_table, xid)
);
COMMENT ON TABLE log_permits IS 'Proof within one transaction that the caller may create or drop the log of a table';

CREATE FUNCTION may_log(p_base oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT pg_has_role(c.relowner, 'USAGE')
        OR (has_table_privilege(c.oid, 'TRIGGER') AND has_table_privilege(c.oid, 'SELECT'))
    FROM pg_class c WHERE c.oid = p_base
$$;
COMMENT ON FUNCTION may_log(oid) IS 'Whether the current user may create or drop the log of a table: its owner, or whoever may read it and create triggers on it';

ALTER TABLE log_permits ENABLE ROW LEVEL SECURITY;
CREATE POLICY loggers_permit ON log_permits FOR INSERT
    WITH CHECK (xid = pg_current_xact_id() AND may_log(base_table));

CREATE FUNCTION take_log_permit(p_base regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO log_permits (base_table) VALUES (p_base);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION '%', format('role "%s" may not have the changes of %s logged', current_user, qualified_name(p_base))
        USING ERRCODE = 'insufficient_privilege',
              HINT = format('As its owner: GRANT SELECT, TRIGGER ON %s TO %I;', qualified_name(p_base), current_user);
END $$;
COMMENT ON FUNCTION take_log_permit(regclass) IS 'Lets row security decide whether the caller may create or drop the log of a table';

CREATE FUNCTION consume_log_permit(p_base regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM log_permits WHERE base_table = p_base AND xid = pg_current_xact_id();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no permit for the log of this table in this transaction'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Call create_materialized_view_log or drop_materialized_view_log.';
    END IF;
END $$;
COMMENT ON FUNCTION consume_log_permit(regclass) IS 'Fails unless row security has let the caller write a permit in this transaction';

CREATE FUNCTION log_members(p_base oid) RETURNS TABLE (member oid, depth integer)
LANGUAGE plpgsql STABLE ROWS 10 SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE tree AS (
        SELECT p_base AS member, 0 AS depth
        UNION ALL
        SELECT i.inhrelid, tree.depth + 1 FROM tree JOIN pg_inherits i ON i.inhparent = tree.member
    )
    SELECT tree.member, tree.depth FROM tree;
END $$;
COMMENT ON FUNCTION log_members(oid) IS 'A table and all its partitions: each needs triggers of its own, as a statement fires those of the table it names only';

CREATE FUNCTION log_member_ids(p_base oid) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    -- Runs with every refresh, for each table. Most have no partitions, which a look into the catalog tells soonest.
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = p_base) THEN
        RETURN ARRAY[p_base];
    END IF;
    RETURN array(SELECT member FROM log_members(p_base));
END $$;
COMMENT ON FUNCTION log_member_ids(oid) IS 'log_members as an array';

CREATE FUNCTION log_refusal(p_base oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    refusal text;
BEGIN
    -- runs with every refresh: PL/pgSQL, which keeps the plan
    SELECT CASE
        WHEN c.relkind = 'v' THEN ' is a view: its base tables are logged instead'
        WHEN c.relkind = 'f' THEN ' is a foreign table: its changes happen elsewhere'
        WHEN c.relkind = 'm' THEN ' is a native MATERIALIZED VIEW, which can not have triggers'
        WHEN c.relkind NOT IN ('r', 'p') THEN ' is not a table'
        WHEN c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, quote_ident(module_schema())::regnamespace) THEN
            ' belongs to the system or to this module'
        WHEN c.relpersistence = 't' THEN ' is a temporary table'
        WHEN c.relpersistence = 'u' THEN ' is unlogged: a crash empties it without a trace'
        WHEN c.relispartition THEN format(' is a partition: log %s instead',
            (SELECT qualified_name(a.relid) FROM pg_partition_ancestors(c.oid) a WHERE a.relid <> c.oid
             ORDER BY (SELECT relispartition FROM pg_class WHERE oid = a.relid) LIMIT 1))
        WHEN subscribed.srrelid IS NOT NULL THEN
            format(' is filled by a subscription (%s), and logical replication fires no statement triggers', qualified_name(subscribed.srrelid))
        WHEN parent.inhparent IS NOT NULL THEN format(' inherits from %s, whose changes go past its triggers', qualified_name(parent.inhparent))
        WHEN c.relkind = 'r' AND member.oid IS NOT NULL THEN format(' has an inheritance child, %s', qualified_name(member.oid))
        WHEN member.relkind = 'f' THEN format(' has a partition that is a foreign table, %s', qualified_name(member.oid))
        WHEN member.relpersistence <> 'p' THEN format(' has an unlogged or temporary partition, %s', qualified_name(member.oid))
    END
    INTO refusal
    FROM pg_class c
    LEFT JOIN LATERAL (SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid LIMIT 1) parent ON true
    LEFT JOIN LATERAL (
        SELECT m.oid, m.relkind, m.relpersistence FROM log_members(c.oid) t JOIN pg_class m ON m.oid = t.member
        WHERE t.depth > 0
        ORDER BY m.relkind <> 'f', m.relpersistence = 'p', m.oid LIMIT 1) member ON true
    LEFT JOIN LATERAL (
        SELECT s.srrelid FROM log_members(c.oid) t JOIN pg_subscription_rel s ON s.srrelid = t.member LIMIT 1) subscribed ON true
    WHERE c.oid = p_base;
    IF refusal IS NOT NULL THEN
        refusal := qualified_name(p_base) || refusal;
    END IF;
    RETURN refusal;
END $$;
COMMENT ON FUNCTION log_refusal(oid) IS 'Why the changes of a relation can not be logged, in words, or NULL';

CREATE FUNCTION require_loggable(p_base oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    refusal text := log_refusal(p_base);
    lacking text;
BEGIN
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION 'no log for %', refusal
            USING ERRCODE = 'wrong_object_type', HINT = 'What reads it is refreshed completely.';
    END IF;
    SELECT format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, current_user) INTO lacking
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = p_base AND NOT has_schema_privilege(n.oid, 'USAGE');
    IF lacking IS NULL THEN
        SELECT format('GRANT TRIGGER ON %s TO %I;', string_agg(qualified_name(member), ', ' ORDER BY depth, member), current_user) INTO lacking
        FROM log_members(p_base) WHERE NOT has_table_privilege(member, 'TRIGGER')
        HAVING count(*) > 0;
    END IF;
    IF lacking IS NOT NULL THEN
        RAISE EXCEPTION '%', format('role "%s", which this module runs as, may not create triggers on %s', current_user, qualified_name(p_base))
            USING ERRCODE = 'insufficient_privilege', HINT = 'As its owner: ' || lacking;
    END IF;
END $$;
COMMENT ON FUNCTION require_loggable(oid) IS 'Fails, saying why, where a table can not be logged or the module lacks the right to';
