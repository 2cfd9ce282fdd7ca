-- Everyone on the booking versions recorded in [$1, $2), with the best guardian consent known at $2: a given and verified one before
-- any other, the earliest of those. $3 is the policy's time zone.
SELECT
    t.booking_id || '/' || t.version || '/' || t.traveller_no AS row_key,
    t.booking_id || '/' || t.version AS root_key,
    t.role AS "booking_travellers.role",
    t.given_name AS "booking_travellers.given_name",
    t.family_name AS "booking_travellers.family_name",
    t.birth_date AS "booking_travellers.birth_date",
    b.booked_at AS "bookings.booked_at",
    (b.booked_at AT TIME ZONE $3)::date AS booked_date,
    b.service_date AS "bookings.service_date",
    g.consent_id AS "guardian_consents.consent_id",
    g.guardian_name AS "guardian_consents.guardian_name",
    g.guardian_email AS "guardian_consents.guardian_email",
    g.guardian_phone AS "guardian_consents.guardian_phone",
    g.relation AS "guardian_consents.relation",
    g.given_at AS "guardian_consents.given_at",
    g.verified_at AS "guardian_consents.verified_at",
    g.verification_method AS "guardian_consents.verification_method"
FROM (
    SELECT DISTINCT booking_id, version, booked_at, service_date
    FROM wellbe.bookings
    WHERE recorded_at >= $1 AND recorded_at < $2
) b
JOIN wellbe.booking_travellers t ON t.booking_id = b.booking_id AND t.version = b.version
LEFT JOIN LATERAL (
    SELECT g.consent_id, g.guardian_name, g.guardian_email, g.guardian_phone, g.relation, g.given_at, g.verified_at, g.verification_method
    FROM wellbe.guardian_consents g
    WHERE g.booking_id = t.booking_id AND g.traveller_no = t.traveller_no AND g.recorded_at < $2
    ORDER BY (g.verified_at IS NULL OR g.given_at IS NULL), greatest(g.given_at, g.verified_at), g.consent_id LIMIT 1
) g ON true
