-- The two functions by which services in any language, and our own job, use the breakers of maintenance.circuit_breaker.
--
-- They belong to whoever owns the table and run with that role's rights: a service needs USAGE on the schema and nothing
-- else, and can set none of the instants itself. "at" is for tests and for a run that goes by its reference time; a
-- breaker's time never runs backwards.

CREATE FUNCTION maintenance.breaker_allow(name text, at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    breaker maintenance.circuit_breaker;
    moment timestamptz;
BEGIN
    -- Most calls come while it is closed, and wait for nobody.
    SELECT * INTO breaker FROM maintenance.circuit_breaker AS b WHERE b.name = breaker_allow.name;
    IF breaker.state IS NULL OR breaker.state = 'CLOSED' THEN
        RETURN true;
    END IF;
    SELECT * INTO breaker FROM maintenance.circuit_breaker AS b WHERE b.name = breaker_allow.name FOR UPDATE;
    IF breaker.state IS NULL OR breaker.state = 'CLOSED' THEN
        RETURN true;
    END IF;
    moment := greatest(coalesce(at, clock_timestamp()), breaker.last_failure_at, breaker.last_success_at);
    IF breaker.state = 'OPEN' AND moment < breaker.last_failure_at + make_interval(secs => breaker.half_open_seconds) THEN
        RETURN false;
    END IF;
    -- A caller that died with its probe under way keeps others out no longer than this.
    IF breaker.state = 'HALF_OPEN' AND moment < breaker.probe_until THEN
        RETURN false;
    END IF;
    UPDATE maintenance.circuit_breaker AS b
    SET state = 'HALF_OPEN',
        successes = CASE breaker.state WHEN 'OPEN' THEN 0 ELSE b.successes END,
        probe_until = moment + make_interval(secs => breaker.half_open_seconds)
    WHERE b.name = breaker_allow.name;
    RETURN true;
END
$$;

CREATE FUNCTION maintenance.breaker_record(name text, ok boolean, detail text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    breaker maintenance.circuit_breaker;
    moment timestamptz;
    is_misconfigured boolean := NOT ok AND coalesce(detail, '') ~* '^((http )?40[13]|unauthorized|forbidden)\y';
BEGIN
    IF ok IS NULL OR coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'breaker_record(name, ok, detail) needs a name, and true or false';
    END IF;
    SELECT * INTO breaker FROM maintenance.circuit_breaker AS b WHERE b.name = breaker_record.name;
    moment := coalesce(at, clock_timestamp());
    -- One success a second says all that many would, and many would queue for the row.
    IF ok AND breaker.state = 'CLOSED' AND breaker.misconfigured_since IS NULL
        AND breaker.last_success_at > moment - interval '1 second'
    THEN
        RETURN 'CLOSED';
    END IF;
    INSERT INTO maintenance.circuit_breaker (name) VALUES (breaker_record.name) ON CONFLICT DO NOTHING;
    SELECT * INTO breaker FROM maintenance.circuit_breaker AS b WHERE b.name = breaker_record.name FOR UPDATE;
    moment := greatest(coalesce(at, clock_timestamp()), breaker.last_failure_at, breaker.last_success_at);
    breaker.recorded_by := coalesce(nullif(current_setting('application_name'), ''), session_user);

    IF ok OR is_misconfigured THEN
        -- A server that refuses our credentials answers: it is no outage, and told as what it is.
        IF ok THEN
            breaker.last_success_at := moment;
            breaker.misconfigured_since := NULL;
            breaker.detail := NULL;
        ELSE
            breaker.misconfigured_since := coalesce(breaker.misconfigured_since, moment);
            breaker.detail := left(detail, 200);
        END IF;
        IF breaker.state = 'HALF_OPEN' THEN
            breaker.successes := breaker.successes + 1;
            breaker.probe_until := NULL;
            IF breaker.successes >= breaker.success_limit THEN
                breaker.state := 'CLOSED';
                breaker.opened_at := NULL;
                breaker.failures := '{}';
                breaker.successes := 0;
            END IF;
        END IF;
    ELSE
        breaker.last_failure_at := moment;
        breaker.detail := left(detail, 200);
        breaker.successes := 0;
        breaker.probe_until := NULL;
        IF breaker.state = 'CLOSED' THEN
            breaker.failures := ARRAY(
                SELECT f FROM unnest(breaker.failures) AS f
                WHERE f >= moment - make_interval(secs => breaker.window_seconds)
                ORDER BY f
            ) || moment;
            IF cardinality(breaker.failures) >= breaker.failure_limit THEN
                breaker.state := 'OPEN';
                breaker.opened_at := moment;
            END IF;
        ELSE
            -- How long it has been open is counted from when it first opened, whatever fails later.
            breaker.state := 'OPEN';
        END IF;
    END IF;

    UPDATE maintenance.circuit_breaker AS b
    SET state = breaker.state,
        failures = breaker.failures,
        successes = breaker.successes,
        opened_at = breaker.opened_at,
        last_failure_at = breaker.last_failure_at,
        last_success_at = breaker.last_success_at,
        probe_until = breaker.probe_until,
        detail = breaker.detail,
        misconfigured_since = breaker.misconfigured_since,
        recorded_by = breaker.recorded_by
    WHERE b.name = breaker_record.name;
    RETURN breaker.state;
END
$$;
