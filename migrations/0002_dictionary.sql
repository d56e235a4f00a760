-- The dictionary. What users set (materialized_view_settings) and what the module keeps (materialized_view_state) are
-- separate tables, so that a user's UPDATE never waits for a running refresh, which holds its state row until it commits.

CREATE FUNCTION new_incarnation() RETURNS uuid
-- it is not, but only so may it stand where a value is generated
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN gen_random_uuid();
END $$;
COMMENT ON FUNCTION new_incarnation() IS 'A number that no other dictionary has';

-- A dump has no generated values: they are generated anew wherever its rows are loaded. So a dictionary that came out of a
-- dump is told from the one it was, in whichever cluster, and one that was copied file by file (a standby, a base backup, a
-- template), where transaction ids mean the same, is not.
CREATE TABLE incarnation (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    id uuid NOT NULL GENERATED ALWAYS AS (new_incarnation()) STORED
);
INSERT INTO incarnation DEFAULT VALUES;
COMMENT ON TABLE incarnation IS 'Tells this dictionary from the one whose dump it was loaded from';

CREATE FUNCTION own_incarnation() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN (SELECT id FROM incarnation);
END $$;
COMMENT ON FUNCTION own_incarnation() IS 'Another one as soon as the dictionary has been loaded from a dump';

CREATE TABLE materialized_view_settings (
    mv_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 'table': filled by this module; 'native': an adopted CREATE MATERIALIZED VIEW, refreshed by REFRESH MATERIALIZED VIEW
    kind text NOT NULL DEFAULT 'table' CHECK (kind IN ('table', 'native')),
    -- regclass, because it survives renames and is dumped by name; NULL while dropped for an upgrade
    mv_relation regclass UNIQUE,
    v_relation regclass,
    -- the names last seen: what an upgrade recreates, and what is shown when a relation has been dropped by hand
    mv_schema name NOT NULL,
    mv_name name NOT NULL,
    v_schema name,
    v_name name,
    -- 'user': an existing view, never touched; 'module': made from a query; 'renamed': a view whose name the table took
    view_origin text NOT NULL DEFAULT 'user' CHECK (view_origin IN ('user', 'module', 'renamed')),
    owner regrole NOT NULL DEFAULT quote_ident(current_user)::regrole,
    refresh_rate_in_sec integer,
    refresh_cron text,
    refresh_time_zone text,
    refresh_method text NOT NULL DEFAULT 'auto',
    complete_form text NOT NULL DEFAULT 'in_place',
    refresh_group text,
    enabled boolean NOT NULL DEFAULT true,
    statement_timeout_in_sec integer,
    lock_timeout_in_sec integer,
    requested_at timestamptz,
    requested_method text,
    -- the user's word that a materialized view can be trusted again
    resumed_at timestamptz,
    -- settings of the creator's session on which the query's result may depend; every refresh runs with them
    session_settings jsonb NOT NULL DEFAULT '{}',
    -- what is needed to make the materialized view again after it was dropped for an upgrade; run by whoever asks for
    -- that, so it is written by the module only, from the catalog
    kept jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the daemon reads what changed since its last look by transaction id and snapshot, never by time
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
-- A relation that exists has its name from the catalog, where it may have been renamed; only what is to be made again
-- needs a name of its own.
CREATE UNIQUE INDEX materialized_view_settings_dropped ON materialized_view_settings (mv_schema, mv_name, owner)
    WHERE mv_relation IS NULL;
CREATE INDEX materialized_view_settings_changed_xid ON materialized_view_settings (changed_xid);
COMMENT ON TABLE materialized_view_settings IS
    'What users set, one row per materialized view; change it through the view materialized_views or in place';

CREATE TABLE materialized_view_state (
    mv_id integer PRIMARY KEY REFERENCES materialized_view_settings ON DELETE CASCADE,
    last_refresh timestamptz,
    last_snapshot pg_snapshot,
    -- set if the refresh's own transaction had changed base tables: its id, and how many log rows it had written by then
    last_xid xid8,
    last_own_rows bigint,
    last_method text,
    last_reason text,
    last_duration_ms double precision,
    last_rows_changed bigint,
    avg_cost_ms double precision,
    -- what auto decides by, see cheaper_method: a fast refresh costs a fixed part, and something for each pending row
    fast_fixed_ms double precision,
    fast_ms_per_row double precision,
    complete_ms double precision,
    -- whether that is what the first fill has cost
    complete_is_fill boolean NOT NULL DEFAULT false,
    -- the method whose last refresh cost more than a tenth more than was expected
    dearer_method text,
    -- the method last chosen by cost, and what it has cost since the other was last tried
    auto_method text,
    auto_spent_ms double precision,
    -- an audit found rows that differ from the query's: refreshed completely unless resumed later than this
    quarantined_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    last_error text,
    last_error_code text,
    last_error_at timestamptz,
    retry_at timestamptz,
    -- suspended until the settings are changed later than this
    suspended_at timestamptz,
    -- transaction ids mean nothing in another cluster, nor after a dump and its restore
    system_identifier bigint,
    incarnation uuid,
    -- what the refresh functions were compiled for; differs as soon as a definition, a column, an index or the owner changes
    compiled_for text,
    -- every view that the query goes through, the defining view first
    read_views oid[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
COMMENT ON TABLE materialized_view_state IS
    'What the module keeps, one row per materialized view; written by refreshes only';

CREATE TABLE materialized_view_sources (
    mv_id integer NOT NULL REFERENCES materialized_view_settings ON DELETE CASCADE,
    source regclass NOT NULL,
    PRIMARY KEY (mv_id, source)
);
CREATE INDEX materialized_view_sources_source ON materialized_view_sources (source);
COMMENT ON TABLE materialized_view_sources IS
    'One row per materialized view and table that its query reads, also through other views';

CREATE TABLE refresh_history (
    refresh_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mv_id integer NOT NULL,
    mv_name text NOT NULL,
    refresh_group text,
    outcome text NOT NULL CHECK (outcome IN ('succeeded', 'failed')),
    method text,
    -- of a complete refresh: in_place, rebuild; of a native one: plain, concurrently
    form text,
    reason text,
    trigger text NOT NULL,
    due_at timestamptz,
    started_at timestamptz NOT NULL,
    prepare_ms double precision,
    execute_ms double precision,
    duration_ms double precision,
    rows_inserted bigint,
    rows_updated bigint,
    rows_deleted bigint,
    pending_rows bigint,
    error text,
    error_code text,
    backend_pid integer DEFAULT pg_backend_pid()
);
CREATE INDEX refresh_history_mv_id ON refresh_history (mv_id, refresh_id);
CREATE INDEX refresh_history_started_at ON refresh_history (started_at);
COMMENT ON TABLE refresh_history IS 'One row per refresh, kept for the configured time';

-- A permit is the proof, given by row security in the caller's own name, that the caller may act for a materialized
-- view. Functions that run with the module's rights ask for one, because inside them current_user is the module's and
-- session_user may be a daemon running somebody's query. A permit is worth something only in its own transaction.
CREATE TABLE refresh_permits (
    mv_id integer NOT NULL REFERENCES materialized_view_settings ON DELETE CASCADE,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (mv_id, xid)
);
COMMENT ON TABLE refresh_permits IS 'Proof within one transaction that the caller may refresh a materialized view';

-- What an installation consists of, as recorded by install; self_check compares the catalog with it.
CREATE TABLE module_objects (
    object_kind text NOT NULL,
    object_name text NOT NULL,
    fingerprint text NOT NULL,
    PRIMARY KEY (object_kind, object_name)
);
COMMENT ON TABLE module_objects IS 'The module''s own objects and their fingerprints, for self_check()';
