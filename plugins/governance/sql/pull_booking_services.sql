-- The services of the booking versions recorded in [$1, $2). $3 is the policy's time zone.
SELECT
    s.booking_id || '/' || s.version || '/' || s.service_no AS row_key,
    s.booking_id || '/' || s.version AS root_key,
    s.service_no AS "booking_services.service_no",
    s.kind AS "booking_services.kind",
    s.provider_id AS "booking_services.provider_id",
    CASE
        WHEN p.provider_id IS NULL THEN 'unknown'
        WHEN p.kind <> s.kind THEN 'other_kind'
        WHEN p.active_from > (b.booked_at AT TIME ZONE $3)::date THEN 'not_started'
        WHEN p.active_until < (b.booked_at AT TIME ZONE $3)::date THEN 'ended'
        ELSE 'active'
    END AS provider_state_code,
    s.procedure_code AS "booking_services.procedure_code",
    s.itinerary AS "booking_services.itinerary",
    s.starts_on AS "booking_services.starts_on"
FROM (
    SELECT DISTINCT booking_id, version, booked_at
    FROM wellbe.bookings
    WHERE recorded_at >= $1 AND recorded_at < $2
) b
JOIN wellbe.booking_services s ON s.booking_id = b.booking_id AND s.version = b.version
LEFT JOIN wellbe.providers p ON p.provider_id = s.provider_id
