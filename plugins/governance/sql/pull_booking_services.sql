-- The services of the booking versions recorded in the partition. Days outside years 1 to 9999 are unknown.
SELECT
    s.booking_id || '/' || s.version || '/' || s.service_no AS row_key,
    s.booking_id || '/' || s.version AS root_key,
    'client ' || b.client_id AS client_ref,
    b.booked_at AS begun_at,
    s.service_no AS "booking_services.service_no",
    s.kind AS "booking_services.kind",
    s.provider_id AS "booking_services.provider_id",
    CASE
        WHEN p.provider_id IS NULL THEN 'unknown'
        WHEN (p.kind = s.kind) IS NOT TRUE THEN 'other_kind'
        WHEN p.active_from > (b.booked_at AT TIME ZONE current_setting('governance.time_zone'))::date THEN 'not_started'
        WHEN p.active_until < (b.booked_at AT TIME ZONE current_setting('governance.time_zone'))::date THEN 'ended'
        ELSE 'active'
    END AS provider_state_code,
    s.procedure_code AS "booking_services.procedure_code",
    s.itinerary AS "booking_services.itinerary",
    CASE WHEN s.starts_on BETWEEN '0001-01-02' AND '9999-12-31' THEN s.starts_on END AS "booking_services.starts_on"
FROM (
    -- A version that was recorded twice, perhaps with different dates, brings its services once.
    SELECT booking_id, version, min(client_id) AS client_id, min(booked_at) FILTER (WHERE booked_at BETWEEN '0001-01-02' AND '9999-12-31') AS booked_at
    FROM wellbe.bookings
    WHERE
\ir of_partition.sql
    GROUP BY booking_id, version
) b
JOIN wellbe.booking_services s ON s.booking_id = b.booking_id AND s.version = b.version
LEFT JOIN wellbe.providers p ON p.provider_id = s.provider_id
