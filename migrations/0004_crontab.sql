-- Validation of crontab text, so that a wrong one is refused by whatever UPDATE brings it. When it runs is the daemon's to say.

CREATE FUNCTION crontab_value(p_text text, p_names text[], p_first integer) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT
RETURN CASE
    WHEN p_text ~ '^[0-9]{1,2}$' THEN p_text::integer
    ELSE array_position(p_names, lower(p_text)) - 1 + p_first
END;
COMMENT ON FUNCTION crontab_value(text, text[], integer) IS 'A number or a name of a crontab field as a number; NULL if it is neither';

CREATE FUNCTION crontab_field_error(
    p_field text, p_label text, p_low integer, p_high integer, p_names text[]
) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
DECLARE
    item text;
    parts text[];
    low integer;
    high integer;
BEGIN
    FOREACH item IN ARRAY string_to_array(p_field, ',') LOOP
        parts := regexp_match(item, '^(?:(\*)|([0-9a-zA-Z]+)(?:-([0-9a-zA-Z]+))?)(?:/([0-9]{1,4}))?$');
        IF parts IS NULL THEN
            RETURN format('%s: "%s" is not *, a value, a range or a list of them', p_label, item);
        END IF;
        IF parts[4]::integer = 0 THEN
            RETURN format('%s: "%s" has a step of zero', p_label, item);
        END IF;
        CONTINUE WHEN parts[1] IS NOT NULL;
        low := crontab_value(parts[2], p_names, p_low);
        high := CASE WHEN parts[3] IS NULL THEN low ELSE crontab_value(parts[3], p_names, p_low) END;
        IF low IS NULL OR high IS NULL OR low NOT BETWEEN p_low AND p_high OR high NOT BETWEEN p_low AND p_high THEN
            RETURN format('%s: "%s" is outside %s-%s', p_label, item, p_low, p_high);
        END IF;
        IF low > high THEN
            RETURN format('%s: the range "%s" runs backwards', p_label, item);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION crontab_field_error(text, text, integer, integer, text[]) IS 'What is wrong with one crontab field, or NULL';

CREATE FUNCTION crontab_error(p_crontab text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path FROM CURRENT AS $$
DECLARE
    fields text[] := regexp_split_to_array(btrim(p_crontab), '\s+');
    months CONSTANT text[] := '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}';
    days CONSTANT text[] := '{sun,mon,tue,wed,thu,fri,sat}';
BEGIN
    IF lower(btrim(p_crontab)) = ANY ('{@hourly,@daily,@midnight,@weekly,@monthly,@yearly,@annually}') THEN
        RETURN NULL;
    END IF;
    IF cardinality(fields) <> 5 THEN
        RETURN format('a crontab has five fields (minute hour day month weekday), "%s" has %s',
                      p_crontab, CASE WHEN btrim(p_crontab) = '' THEN 0 ELSE cardinality(fields) END);
    END IF;
    RETURN coalesce(
        crontab_field_error(fields[1], 'minute', 0, 59, '{}'),
        crontab_field_error(fields[2], 'hour', 0, 23, '{}'),
        crontab_field_error(fields[3], 'day', 1, 31, '{}'),
        crontab_field_error(fields[4], 'month', 1, 12, months),
        crontab_field_error(fields[5], 'weekday', 0, 7, days));
END $$;
COMMENT ON FUNCTION crontab_error(text) IS 'What is wrong with a five-field crontab, in one line, or NULL if it is right';
