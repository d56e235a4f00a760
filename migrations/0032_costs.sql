-- What refreshes cost, by what they have cost, and which method is the cheaper one.

CREATE FUNCTION expected_fast_ms(p_state materialized_view_state, p_pending bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE
RETURN (p_state).fast_fixed_ms + (p_state).fast_ms_per_row * p_pending;
COMMENT ON FUNCTION expected_fast_ms(materialized_view_state, bigint) IS 'What a fast refresh of so many log rows will cost, by what fast refreshes have cost; NULL as long as there were none';

CREATE FUNCTION expected_complete_ms(p_state materialized_view_state) RETURNS double precision
LANGUAGE sql IMMUTABLE
-- A first fill reads what nothing has read lately, writes every row, and makes the indexes. It is taken for twice a later refresh, so that
-- one is measured before a fast refresh is believed to be better than it; but for what matters to nobody.
RETURN CASE WHEN (p_state).complete_is_fill THEN least((p_state).complete_ms, ((p_state).complete_ms + 20) / 2) ELSE (p_state).complete_ms END;
COMMENT ON FUNCTION expected_complete_ms(materialized_view_state) IS 'What a complete refresh will cost, by what complete ones have cost; NULL as long as there was none';

CREATE FUNCTION fast_limit_ms(p_state materialized_view_state) RETURNS double precision
LANGUAGE sql IMMUTABLE
-- What a complete refresh costs is the more certain: it does not follow from refreshes of other sizes.
RETURN 0.9 * expected_complete_ms(p_state);
COMMENT ON FUNCTION fast_limit_ms(materialized_view_state) IS 'Up to which expected cost a fast refresh is taken: it is to save a tenth; NULL as long as there was no complete one';

CREATE FUNCTION most_rows_for_fast(p_state materialized_view_state, p_base_rows double precision) RETURNS bigint
LANGUAGE sql IMMUTABLE
-- What is known of the method that was not used may be wrong, or no longer right. It is tried again, so much the sooner
-- the smaller the loss by that would be: it may be a twentieth of what the other has cost since.
RETURN CASE
    WHEN (p_state).complete_ms IS NULL THEN NULL
    -- nothing measured: by size
    WHEN (p_state).fast_ms_per_row IS NULL THEN greatest(1000, p_base_rows / 10)
    ELSE least(1e15, greatest(0,
        (fast_limit_ms(p_state) - (p_state).fast_fixed_ms
         + CASE (p_state).auto_method WHEN 'complete' THEN 1 WHEN 'fast' THEN -1 ELSE 0 END * coalesce((p_state).auto_spent_ms, 0) / 20)
        / greatest((p_state).fast_ms_per_row, 1e-9)))
END::bigint;
COMMENT ON FUNCTION most_rows_for_fast(materialized_view_state, double precision) IS
    'Up to how many pending rows a fast refresh is taken, by what refreshes have cost; NULL: however many';

CREATE FUNCTION cheaper_method(p_pending bigint, p_state materialized_view_state, p_base_rows double precision, OUT method text, OUT reason text)
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    most_rows bigint := most_rows_for_fast(p_state, p_base_rows);
    fast_ms double precision := expected_fast_ms(p_state, coalesce(p_pending, most_rows + 1));
    complete_ms double precision := expected_complete_ms(p_state);
    pending text := CASE WHEN p_pending IS NULL AND most_rows = 0 THEN 'pending rows'
                         WHEN p_pending IS NULL THEN format('more than %s pending rows', most_rows)
                         ELSE format('%s pending %s', p_pending, CASE WHEN p_pending = 1 THEN 'row' ELSE 'rows' END) END;
BEGIN
    method := CASE WHEN p_pending > most_rows OR p_pending IS NULL THEN 'complete' ELSE 'fast' END;
    reason := CASE
        WHEN complete_ms IS NULL THEN pending || '; a complete refresh has not been measured'
        WHEN fast_ms IS NULL THEN format('%s, of about %s in the base tables; a fast refresh has not been measured', pending, round(p_base_rows))
        ELSE format('%s: %s ms expected fast%s, %s ms completely%s', pending, round(fast_ms::numeric, 1),
                    CASE WHEN p_pending IS NULL THEN ' or more' END, round(complete_ms::numeric, 1),
                    CASE WHEN (method = 'fast') <> (fast_ms <= fast_limit_ms(p_state)) THEN ', which is to be seen again'
                         WHEN method = 'complete' AND fast_ms <= complete_ms THEN '; fast is to save a tenth' END)
    END;
END $$;
COMMENT ON FUNCTION cheaper_method(bigint, materialized_view_state, double precision) IS
    'The refresh method that will cost less, by what refreshes have cost, and why; NULL pending rows are more than most_rows_for_fast';

CREATE FUNCTION learned_cost(p_expected double precision, p_measured double precision, p_again boolean) RETURNS double precision
LANGUAGE sql IMMUTABLE
-- Outliers, as on a busy server, are high ones: a lower measurement is believed sooner, a single higher one moves the cost
-- by no more than half, a second higher one in a row is believed as well.
RETURN CASE
    WHEN p_measured < p_expected OR p_again THEN p_expected + 0.7 * (p_measured - p_expected)
    ELSE p_expected + 0.3 * (least(p_measured, p_expected * 2.7) - p_expected)
END;
COMMENT ON FUNCTION learned_cost(double precision, double precision, boolean) IS
    'What a refresh costs, after one more measurement; whether the last one was higher than expected as well';

CREATE FUNCTION learn_fast_cost(INOUT p_state materialized_view_state, p_pending bigint, p_ms double precision, p_again boolean)
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    pending_rows double precision := greatest(p_pending, 1);
    expected double precision := expected_fast_ms(p_state, p_pending);
    by_rows double precision;
    error double precision;
    fixed_share double precision;
BEGIN
    IF expected IS NULL THEN
        -- One measurement does not tell the parts apart: of few rows most is fixed, else half. The first one reads what no
        -- other has read lately, and makes all plans: a dear one is no reason to leave the method before a second one, unless
        -- that could be a great loss.
        fixed_share := greatest(0.5, 50 / (50 + pending_rows));
        p_ms := CASE WHEN p_ms <= greatest(3 * p_state.complete_ms, 1000) THEN least(p_ms, 0.9 * fast_limit_ms(p_state))
                     ELSE least(p_ms, 2 * p_state.complete_ms) END;
        p_state.fast_fixed_ms := p_ms * fixed_share;
        p_state.fast_ms_per_row := p_ms * (1 - fixed_share) / pending_rows;
        RETURN;
    END IF;
    -- What was wrong is put down to both parts by the squares of what they were expected to be: it is the larger one that is
    -- measured. So refreshes of few and of many rows find the two parts, and neither becomes negative.
    by_rows := p_state.fast_ms_per_row * pending_rows;
    error := learned_cost(expected, p_ms, p_again) - expected;
    fixed_share := p_state.fast_fixed_ms ^ 2 / greatest(p_state.fast_fixed_ms ^ 2 + by_rows ^ 2, 1e-12);
    p_state.fast_fixed_ms := greatest(1e-6, p_state.fast_fixed_ms + error * fixed_share);
    p_state.fast_ms_per_row := greatest(1e-9, p_state.fast_ms_per_row + error * (1 - fixed_share) / pending_rows);
END $$;
COMMENT ON FUNCTION learn_fast_cost(materialized_view_state, bigint, double precision, boolean) IS
    'What is known of the cost of fast refreshes after one of so many log rows';

CREATE FUNCTION learn_costs(INOUT p_state materialized_view_state, p_method text, p_by_cost boolean, p_pending bigint, p_duration_ms double precision)
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    is_fast boolean := p_method = 'fast';
    is_dear boolean := p_duration_ms > CASE WHEN is_fast THEN coalesce(1.1 * expected_fast_ms(p_state, p_pending), fast_limit_ms(p_state))
                                            ELSE 1.1 * expected_complete_ms(p_state) END;
    again boolean := is_dear AND p_state.dearer_method IS NOT DISTINCT FROM p_method;
BEGIN
    IF is_fast THEN
        p_state := learn_fast_cost(p_state, p_pending, p_duration_ms, coalesce(again, false));
    ELSIF p_state.complete_ms IS NULL OR p_state.complete_is_fill THEN
        p_state.complete_is_fill := p_state.last_refresh IS NULL;
        p_state.complete_ms := p_duration_ms;
    ELSE
        p_state.complete_ms := learned_cost(p_state.complete_ms, p_duration_ms, again);
    END IF;
    p_state.dearer_method := CASE WHEN is_dear THEN p_method END;
    p_state.auto_spent_ms := CASE WHEN p_by_cost AND p_method = p_state.auto_method THEN p_state.auto_spent_ms + p_duration_ms ELSE 0 END;
    p_state.auto_method := CASE WHEN p_by_cost THEN p_method END;
END $$;
COMMENT ON FUNCTION learn_costs(materialized_view_state, text, boolean, bigint, double precision) IS
    'What is known of the costs after a refresh';
