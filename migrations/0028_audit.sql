-- The audit: from time to time a materialized view that is refreshed fast is compared with its query, at the snapshot of a
-- refresh. A difference is a defect (or somebody has written into the table): the rows are put right, the evidence is
-- kept, and fast refreshes of the view are no longer trusted until somebody has looked at it.

CREATE TABLE audits (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mv_id integer NOT NULL,
    mv_name text NOT NULL,
    audited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_ms double precision NOT NULL,
    -- the column by a sample of whose values rows were compared; NULL: all rows
    sampled_by name,
    rows_compared bigint NOT NULL,
    rows_missing bigint NOT NULL,
    rows_unexpected bigint NOT NULL,
    -- of a difference: differing rows, the log rows that the last fast refresh took in, the program, the snapshots
    evidence jsonb
);
CREATE INDEX audits_mv_id ON audits (mv_id, audit_id);
CREATE INDEX audits_audited_at ON audits (audited_at);
COMMENT ON TABLE audits IS 'One row per comparison of a materialized view with its query by the daemon';

CREATE FUNCTION sampling_column(p_mv oid) RETURNS name
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- the one with the most different values: a sample of them then is a sample of few rows
    SELECT c.column_name
    FROM relation_columns(p_mv) c
    JOIN pg_class m ON m.oid = p_mv
    JOIN pg_namespace n ON n.oid = m.relnamespace
    JOIN pg_type t ON t.oid = c.column_type AND t.typarray <> 0
    LEFT JOIN pg_stats st ON st.schemaname = n.nspname AND st.tablename = m.relname AND st.attname = c.column_name
    WHERE has_equality(c.column_type) AND has_hash(c.column_type)
      -- by what is compared within a tolerance no rows can be found, and bounds by their keys only
      AND (tolerance_of(p_mv) IS NULL OR tolerance_of(p_mv) -> 'keys' ? c.column_name)
    ORDER BY c.column_name = ANY (SELECT unnest(key_columns) FROM matching_key(p_mv)) DESC,
             CASE WHEN st.n_distinct < 0 THEN -st.n_distinct * m.reltuples ELSE st.n_distinct END DESC NULLS LAST, c.ordinal
    LIMIT 1
$$;
COMMENT ON FUNCTION sampling_column(oid) IS 'By which column the rows of a materialized view are sampled';

CREATE FUNCTION sample_body(p_mv oid, p_source text, p_column name, p_function text) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- as verify_body, over the rows with some of a column's values: a plain array, which the planner can push down
    SELECT format($text$
    DECLARE
        sampled_values %3$s[] := ARRAY(SELECT %2$I FROM ONLY %1$s TABLESAMPLE SYSTEM (%4$s) WHERE %2$I IS NOT NULL LIMIT 1000);
    BEGIN
%5$s
    END;$text$,
        qualified_name(p_mv), p_column, format_type(c.column_type, -1),
        (SELECT least(100, greatest(0.001, 200000 / greatest(reltuples, 1)))::numeric(6, 3) FROM pg_class WHERE oid = p_mv),
        verify_body(p_mv, p_source, p_function, tolerance_of(p_mv), format(' WHERE %I = ANY (sampled_values)', p_column)))
    FROM relation_columns(p_mv) c WHERE c.column_name = p_column
$$;
COMMENT ON FUNCTION sample_body(oid, text, name, text) IS 'The body of the comparison of a sample of a materialized view''s rows with its query';

CREATE FUNCTION pending_evidence(p_mv_id integer, p_snapshot pg_snapshot, p_limit integer DEFAULT 200) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
    log record;
    found jsonb;
    result jsonb := '{}';
BEGIN
    FOR log IN
        SELECT l.log_id, g.base_name FROM fast_program_logs l JOIN materialized_view_logs g USING (log_id) WHERE l.mv_id = p_mv_id
    LOOP
        EXECUTE format('SELECT coalesce(jsonb_agg(to_jsonb(r)), ''[]'') FROM (SELECT * FROM %s WHERE xid >= $1 AND NOT pg_visible_in_snapshot(xid, $2) LIMIT $3) r',
                       log_table(log.log_id))
        INTO found USING pg_snapshot_xmin(p_snapshot), p_snapshot, p_limit;
        result := result || jsonb_build_object(log.base_name, found);
    END LOOP;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    -- evidence is worth a try, no more: a log may be damaged
    RETURN jsonb_build_object('error', SQLERRM);
END $$;
COMMENT ON FUNCTION pending_evidence(integer, pg_snapshot, integer) IS 'The log rows that wait for a materialized view, the first of them';

CREATE FUNCTION compare_with_query(
    p_view materialized_view_settings, p_sampled_by name,
    OUT rows_compared bigint, OUT rows_missing bigint, OUT rows_unexpected bigint, OUT samples jsonb
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    missing_samples jsonb;
    unexpected_samples jsonb;
BEGIN
    IF p_sampled_by IS NOT NULL THEN
        PERFORM create_refresh_function(p_view.mv_id, 'verify_sample', verify_signature(),
            sample_body(p_view.mv_relation, qualified_name(p_view.v_relation), p_sampled_by, 'verify_sample$' || p_view.mv_id));
    END IF;
    SELECT c.rows_compared, c.rows_missing, c.rows_unexpected, c.missing_samples, c.unexpected_samples
    INTO STRICT rows_compared, rows_missing, rows_unexpected, missing_samples, unexpected_samples
    FROM run_refresh_function(CASE WHEN p_sampled_by IS NULL THEN 'verify' ELSE 'verify_sample' END, p_view.mv_id, '20')
         AS c (snapshot pg_snapshot, rows_compared bigint, rows_missing bigint, rows_unexpected bigint, missing_samples jsonb, unexpected_samples jsonb);
    IF p_sampled_by IS NOT NULL THEN
        EXECUTE format('DROP FUNCTION %I.%I(integer)', module_schema(), 'verify_sample$' || p_view.mv_id);
    END IF;
    samples := jsonb_build_object('missing', missing_samples, 'unexpected', unexpected_samples);
END $$;
COMMENT ON FUNCTION compare_with_query(materialized_view_settings, name) IS 'Compares the rows of a materialized view, or a sample of them, with its query';

CREATE FUNCTION perform_audit(p_mv_id integer, p_longest_ms double precision DEFAULT NULL) RETURNS audits
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    view_row materialized_view_settings;
    before materialized_view_state;
    pending jsonb;
    comparison record;
    audit audits;
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' THEN
        RAISE EXCEPTION 'an audit compares at the snapshot of a refresh, which READ COMMITTED does not give'
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Use BEGIN ISOLATION LEVEL REPEATABLE READ.';
    END IF;
    IF NOT try_refresh_lock(p_mv_id, false) THEN
        RETURN NULL;
    END IF;
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT * INTO STRICT before FROM materialized_view_state WHERE mv_id = p_mv_id;
    pending := pending_evidence(p_mv_id, before.last_snapshot);
    PERFORM perform_refresh(p_mv_id, 'audit');
    IF NOT ensure_comparable(p_mv_id) THEN
        -- compared once it is compiled again
        RETURN NULL;
    END IF;
    audit.sampled_by := CASE WHEN before.complete_ms > p_longest_ms THEN sampling_column(view_row.mv_relation) END;
    SELECT * INTO STRICT comparison FROM compare_with_query(view_row, audit.sampled_by);
    IF comparison.rows_missing + comparison.rows_unexpected > 0 THEN
        audit.evidence := jsonb_build_object(
            'rows', comparison.samples, 'log_rows', pending, 'watermark_before', before.last_snapshot::text,
            'snapshot', pg_current_snapshot()::text, 'query', definition_text(view_row.v_relation),
            'program', (SELECT to_jsonb(f) FROM fast_programs f WHERE f.mv_id = p_mv_id), 'state', to_jsonb(before));
        UPDATE materialized_view_state SET quarantined_at = clock_timestamp() WHERE mv_id = p_mv_id;
        PERFORM perform_refresh(p_mv_id, 'audit', 'complete');
    END IF;
    INSERT INTO audits (mv_id, mv_name, duration_ms, sampled_by, rows_compared, rows_missing, rows_unexpected, evidence)
    VALUES (p_mv_id, shown_name(view_row), elapsed_ms(begun), audit.sampled_by,
            comparison.rows_compared, comparison.rows_missing, comparison.rows_unexpected, audit.evidence)
    RETURNING * INTO audit;
    RETURN audit;
END $$;
COMMENT ON FUNCTION perform_audit(integer, double precision) IS
    'Refreshes a materialized view and compares it with its query, by a sample if a complete refresh takes longer than given; puts a difference right';

CREATE FUNCTION audits_due(p_every interval) RETURNS TABLE (mv_id integer, mv_name text)
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    -- of what has been refreshed fast since its last audit: nothing else can have gone wrong
    SELECT s.mv_id, shown_name(s)
    FROM materialized_view_settings s
    JOIN materialized_view_state t USING (mv_id)
    JOIN fast_programs f USING (mv_id)
    CROSS JOIN LATERAL (SELECT coalesce(max(a.audited_at), s.created_at) FROM audits a WHERE a.mv_id = s.mv_id) AS last_audit (at)
    WHERE f.body IS NOT NULL AND f.compiled_for IS NOT NULL AND s.enabled AND t.failures = 0 AND (t.quarantined_at > coalesce(s.resumed_at, '-infinity')) IS NOT TRUE AND t.fast_ms_per_row IS NOT NULL
      AND last_audit.at < clock_timestamp() - p_every AND t.last_refresh > last_audit.at
    ORDER BY last_audit.at
$$;
COMMENT ON FUNCTION audits_due(interval) IS 'The materialized views to be audited, the longest not audited first';

CREATE FUNCTION prune_audits(p_keep interval) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH pruned AS (
        -- the last one of each view says when the next is due; what found a difference is kept ten times as long
        DELETE FROM audits a
        WHERE a.audited_at < clock_timestamp() - p_keep * CASE WHEN a.evidence IS NULL THEN 1 ELSE 10 END
          AND (EXISTS (SELECT FROM audits later WHERE later.mv_id = a.mv_id AND later.audit_id > a.audit_id)
               OR NOT EXISTS (SELECT FROM materialized_view_settings s WHERE s.mv_id = a.mv_id))
        RETURNING 1
    )
    SELECT count(*) FROM pruned
$$;
COMMENT ON FUNCTION prune_audits(interval) IS 'Deletes old audits';
