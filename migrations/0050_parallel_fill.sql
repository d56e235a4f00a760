-- The first fill of a materialized view by several sessions at one snapshot. mvrefreshd drives it (src/refresh/parallel_fill.rs):
--
--   prepare_parallel_fill   in the transaction that makes the materialized view
--   fill_slice              by each session, in a transaction with the exported snapshot, as often as there are slices left
--   finish_parallel_fill    when all of them have committed, by the session that has held the refresh lock all the while
--
-- What reads and writes rows are functions of the owner, as for every refresh (0008), dropped at the end.

CREATE FUNCTION can_be_ranged(p_type oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- Refresh functions see pg_catalog only: an order from elsewhere would not be the one that their operators mean.
    SELECT t.typnamespace = 'pg_catalog'::regnamespace
       AND (t.oid = 'varchar'::regtype OR EXISTS (
            SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
            WHERE o.opcintype = t.oid AND o.opcdefault))
    FROM pg_type t WHERE t.oid = p_type
$$;
COMMENT ON FUNCTION can_be_ranged(oid) IS 'Whether rows can be told apart by ranges of values of a type';

CREATE FUNCTION collate_clause(p_collation oid) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce((SELECT format(' COLLATE %I.%I', n.nspname, c.collname)
                     FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = p_collation), '')
$$;
COMMENT ON FUNCTION collate_clause(oid) IS 'COLLATE with the name of a collation; nothing for none';

CREATE FUNCTION fill_bounds_body(p_base_table oid, p_attnum smallint, p_type text, p_collate text, p_slices integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- As the owner, who sees the statistics of what he may read. Common values and the histogram of all others are put in
    -- one row of weights, which is cut into parts of equal weight. Bounds need not be good, only in order.
    SELECT format($text$
    WITH statistics AS (
        SELECT histogram_bounds::text::%4$s[] AS bounds, most_common_vals::text::%4$s[] AS common, most_common_freqs AS shares,
               coalesce((SELECT sum(share) FROM unnest(most_common_freqs) AS s (share)), 0) + null_frac AS elsewhere
        FROM pg_stats
        WHERE schemaname = %1$L AND tablename = %2$L AND attname = %3$L
        ORDER BY inherited DESC LIMIT 1
    ), weights AS (
        SELECT bound AS v, greatest(1 - elsewhere, 0) / cardinality(bounds) AS weight FROM statistics, unnest(bounds) AS b (bound)
        UNION ALL
        SELECT v, share FROM statistics, unnest(common, shares) AS c (v, share)
    ), summed AS (
        SELECT v, sum(weight) OVER (ORDER BY v%5$s) AS up_to, sum(weight) OVER () AS total FROM weights
    ), chosen AS (
        SELECT DISTINCT cut.v
        FROM generate_series(1, %6$s - 1) AS part
        CROSS JOIN LATERAL (SELECT v FROM summed WHERE up_to >= total * part / %6$s ORDER BY v%5$s LIMIT 1) AS cut
    )
    SELECT array_agg(v::text ORDER BY v%5$s) INTO bounds FROM chosen;$text$,
        n.nspname, c.relname, a.attname, p_type, p_collate, p_slices)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attrelid = p_base_table AND a.attnum = p_attnum
$$;
COMMENT ON FUNCTION fill_bounds_body(oid, smallint, text, text, integer) IS
    'Finds values of a base table''s column that divide its rows into parts of about equal size';

CREATE FUNCTION fill_slice_body(p_mv_id integer, p_column name, p_type text, p_collate text, p_hashed text) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- Every row is in exactly one slice: of the ranges by their common bounds, which are checked to be in order, with NULLs
    -- in one of their own; or by the remainder of its hash.
    SELECT format($text$
    IF %1$I.kind = 'range' THEN
        IF %1$I.upper_bound::%5$s%6$s <= %1$I.lower_bound::%5$s%6$s THEN
            RAISE EXCEPTION 'the bounds of the slices are not in order';
        END IF;
        INSERT INTO %2$s (%3$s) SELECT %3$s FROM %4$s AS the_query
        WHERE the_query.%7$I IS NOT NULL
          AND (%1$I.lower_bound IS NULL OR the_query.%7$I >= %1$I.lower_bound::%5$s%6$s)
          AND (%1$I.upper_bound IS NULL OR the_query.%7$I < %1$I.upper_bound::%5$s%6$s);
    ELSIF %1$I.kind = 'nulls' THEN
        INSERT INTO %2$s (%3$s) SELECT %3$s FROM %4$s AS the_query WHERE the_query.%7$I IS NULL;
    ELSIF %1$I.kind = 'hash' THEN
        INSERT INTO %2$s (%3$s) SELECT %3$s FROM %4$s AS the_query
        WHERE abs(hash_record_extended(ROW(%8$s), 0) %% %1$I.slices) = %1$I.slice;
    ELSE
        RAISE EXCEPTION 'there is no slice of the kind "%%"', %1$I.kind;
    END IF;
    GET DIAGNOSTICS rows_inserted = ROW_COUNT;
    snapshot := pg_current_snapshot();$text$,
        'fill_slice$' || p_mv_id, qualified_name(s.mv_relation),
        (SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal) FROM relation_columns(s.mv_relation)),
        qualified_name(s.v_relation), p_type, p_collate, p_column, p_hashed)
    FROM materialized_view_settings s WHERE s.mv_id = p_mv_id
$$;
COMMENT ON FUNCTION fill_slice_body(integer, name, text, text, text) IS 'Inserts one slice of the rows of a query';

CREATE FUNCTION fill_state_body(p_mv_id integer) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT format($text$
    WITH %1$s%2$s
    SELECT pg_current_snapshot() INTO STRICT snapshot;$text$, fresh_state_part(p_mv_id),
        string_agg(format('filled_state_%1$s AS (INSERT INTO %2$I.%3$I (%4$s) SELECT %4$s FROM fresh_state_%1$s)', n, module_schema(), s ->> 'table',
                          (SELECT string_agg(c, ', ') FROM jsonb_array_elements_text(s -> 'columns') c)), ', ' ORDER BY n))
    FROM fast_programs f CROSS JOIN jsonb_array_elements(f.states) WITH ORDINALITY AS u (s, n)
    WHERE f.mv_id = p_mv_id
    HAVING count(*) > 0
$$;
COMMENT ON FUNCTION fill_state_body(integer) IS 'Fills the state tables of a fast refresh; NULL if there are none';

CREATE FUNCTION drop_refresh_function(p_mv_id integer, p_name text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- without arguments there is only one of the name
    EXECUTE format('DROP FUNCTION IF EXISTS %I.%I', module_schema(), p_name || '$' || p_mv_id);
END $$;
COMMENT ON FUNCTION drop_refresh_function(integer, text) IS 'Drops a function that was made for one refresh';

CREATE TYPE parallel_fill AS (
    -- what the slices are called by: fill_slice(mv_id, kind, slice, slices, lower_bound, upper_bound); NULL: by hash
    bounds text[],
    -- whether there is a state to be filled, as one slice more
    has_state boolean,
    -- the statements that make the indexes again
    index_definitions text[],
    -- of what the rows mean, which must not change while they are filled
    meaning text
);

CREATE FUNCTION prepare_parallel_fill(
    p_mv_id integer, p_column name, p_slices integer, p_base_table oid DEFAULT NULL, p_attnum smallint DEFAULT NULL
) RETURNS parallel_fill
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    split record;
    fill parallel_fill;
    type_name text;
    collate_text text;
    body text;
BEGIN
    SELECT * INTO STRICT view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT * INTO split FROM relation_columns(view_row.mv_relation) WHERE column_name = p_column;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'materialized view "%" has no column "%" to be split by', view_row.mv_name, p_column
            USING ERRCODE = 'undefined_column',
                  HINT = format('Its columns are %s.', (SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal)
                                                        FROM relation_columns(view_row.mv_relation)));
    END IF;
    -- with a type modifier, if only of -1: else "bpchar" would be called "character", which is one character
    type_name := format_type(split.column_type, split.type_modifier);
    collate_text := collate_clause(split.collation_id);
    IF p_base_table IS NOT NULL AND can_be_ranged(split.column_type) THEN
        PERFORM create_refresh_function(p_mv_id, 'fill_bounds', 'OUT bounds text[]',
            fill_bounds_body(p_base_table, p_attnum, type_name, collate_text, p_slices));
        SELECT b.bounds INTO fill.bounds FROM run_refresh_function('fill_bounds', p_mv_id) AS b (bounds text[]);
        PERFORM drop_refresh_function(p_mv_id, 'fill_bounds');
    END IF;
    -- compared within the function only where it is for ranges: not every type can be
    IF NOT can_be_ranged(split.column_type) THEN
        type_name := 'text';
        collate_text := '';
    END IF;
    body := fill_slice_body(p_mv_id, p_column, type_name, collate_text,
        format(CASE WHEN has_hash(split.column_type) THEN 'the_query.%I' ELSE 'the_query.%I::text' END, p_column));
    PERFORM create_refresh_function(p_mv_id, 'fill_slice',
        'kind text, slice integer, slices integer, lower_bound text, upper_bound text, OUT snapshot pg_snapshot, OUT rows_inserted bigint',
        body, 'SET plan_cache_mode TO force_custom_plan');
    body := fill_state_body(p_mv_id);
    fill.has_state := body IS NOT NULL;
    IF fill.has_state THEN
        PERFORM create_refresh_function(p_mv_id, 'fill_state', 'OUT snapshot pg_snapshot', body);
    END IF;
    -- indexes are made when the rows are there
    PERFORM create_refresh_function(p_mv_id, 'fill_begin', 'OUT index_definitions text[]',
        format('index_definitions := %I.drop_indexes(%L::pg_catalog.regclass);', module_schema(), qualified_name(view_row.mv_relation)));
    SELECT b.definitions INTO fill.index_definitions FROM run_refresh_function('fill_begin', p_mv_id) AS b (definitions text[]);
    PERFORM drop_refresh_function(p_mv_id, 'fill_begin');
    fill.meaning := meaning_fingerprint(p_mv_id);
    RETURN fill;
END $$;
COMMENT ON FUNCTION prepare_parallel_fill(integer, name, integer, oid, smallint) IS
    'Makes what several sessions need to fill an empty materialized view in slices, by ranges of a column that shows this column of a base table, else by hash';

CREATE FUNCTION fill_slice(
    p_mv_id integer, p_kind text, p_slice integer, p_slices integer, p_lower_bound text, p_upper_bound text, p_snapshot pg_snapshot
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    taken_at pg_snapshot;
    inserted bigint := 0;
BEGIN
    IF p_kind = 'state' THEN
        SELECT f.snapshot INTO STRICT taken_at FROM run_refresh_function('fill_state', p_mv_id) AS f (snapshot pg_snapshot);
    ELSE
        SELECT f.snapshot, f.rows_inserted INTO STRICT taken_at, inserted
        FROM run_refresh_function('fill_slice', p_mv_id, format('%L::pg_catalog.text, %s, %s, %L::pg_catalog.text, %L::pg_catalog.text',
                                                               p_kind, p_slice, p_slices, p_lower_bound, p_upper_bound))
             AS f (snapshot pg_snapshot, rows_inserted bigint);
    END IF;
    IF taken_at::text IS DISTINCT FROM p_snapshot::text THEN
        RAISE EXCEPTION 'a slice was read at another snapshot than the others: % instead of %', taken_at, p_snapshot
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    RETURN inserted;
END $$;
COMMENT ON FUNCTION fill_slice(integer, text, integer, integer, text, text, pg_snapshot) IS
    'Inserts one slice of a materialized view that is filled by several sessions, or its state; the number of rows';

CREATE FUNCTION finish_parallel_fill(
    p_mv_id integer, p_fill parallel_fill, p_snapshot pg_snapshot, p_as_of timestamptz, p_begun timestamptz, p_rows bigint, p_work_ms double precision
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    view_row materialized_view_settings;
    state_row materialized_view_state;
    result refresh_result;
    outcome refresh_outcome;
    definitions_from timestamptz := clock_timestamp();
BEGIN
    PERFORM try_refresh_lock(p_mv_id, true);
    SELECT * INTO view_row FROM materialized_view_settings WHERE mv_id = p_mv_id;
    SELECT * INTO state_row FROM materialized_view_state WHERE mv_id = p_mv_id;
    IF view_row.mv_id IS NULL OR state_row.last_refresh IS NOT NULL THEN
        RAISE EXCEPTION 'the materialized view was dropped, or refreshed, while it was being filled'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF p_fill.meaning IS DISTINCT FROM meaning_fingerprint(p_mv_id) THEN
        RAISE EXCEPTION 'materialized view "%": its definition, or a function that it uses, was changed while it was being filled', view_row.mv_name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Create it again.';
    END IF;
    PERFORM create_refresh_function(p_mv_id, 'fill_end', 'index_definitions text[], OUT is_done boolean',
        format('PERFORM %1$I.create_indexes(%2$L::pg_catalog.regclass, %3$I.index_definitions); ANALYZE %4$s; is_done := true;',
               module_schema(), qualified_name(view_row.mv_relation), 'fill_end$' || p_mv_id, qualified_name(view_row.mv_relation)));
    PERFORM e.is_done
    FROM run_refresh_function('fill_end', p_mv_id, quote_nullable(p_fill.index_definitions) || '::pg_catalog.text[]') AS e (is_done boolean);
    PERFORM drop_refresh_function(p_mv_id, name) FROM unnest('{fill_slice,fill_state,fill_end}'::text[]) AS name;
    result.snapshot := p_snapshot;
    result.rows_inserted := p_rows;
    result.rows_updated := 0;
    result.method := 'complete';
    result.form := 'parallel';
    result.reason := 'first fill';
    result.by_cost := false;
    outcome.last_refresh := p_as_of;
    outcome.rows_changed := p_rows;
    -- what a session alone would have needed, by which the choice of the method is made
    outcome.duration_ms := p_work_ms + elapsed_ms(definitions_from);
    PERFORM record_refresh(state_row, NULL, result, 0, outcome);
    outcome.duration_ms := elapsed_ms(p_begun);
    UPDATE materialized_view_state SET last_duration_ms = outcome.duration_ms, avg_cost_ms = outcome.duration_ms WHERE mv_id = p_mv_id;
    INSERT INTO refresh_history (mv_id, mv_name, refresh_group, outcome, method, form, reason, trigger, started_at,
                                 prepare_ms, execute_ms, duration_ms, rows_inserted, rows_updated)
    VALUES (p_mv_id, shown_name(view_row), view_row.refresh_group, 'succeeded', result.method, result.form, result.reason, 'create', p_begun,
            extract(epoch FROM p_as_of - p_begun) * 1000, elapsed_ms(p_as_of), outcome.duration_ms, p_rows, 0);
END $$;
COMMENT ON FUNCTION finish_parallel_fill(integer, parallel_fill, pg_snapshot, timestamptz, timestamptz, bigint, double precision) IS
    'Builds the indexes of a materialized view whose slices are all in, and notes the fill as of the snapshot of them all';
