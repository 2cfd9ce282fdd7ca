-- Everyone on the booking versions recorded in the partition, with the first day of service and the best guardian consent known now: one that was
-- withdrawn must not count, and one that came late may. Days and instants outside years 1 to 9999 are unknown.
SELECT
    t.booking_id || '/' || t.version || '/' || t.traveller_no AS row_key,
    t.booking_id || '/' || t.version AS root_key,
    'client ' || b.client_id AS client_ref,
    b.booked_at AS begun_at,
    'traveller ' || t.booking_id || '/' || t.traveller_no AS traveller_ref,
    'guardian ' || t.booking_id || '/' || t.traveller_no AS guardian_ref,
    t.role AS "booking_travellers.role",
    t.given_name AS "booking_travellers.given_name",
    t.family_name AS "booking_travellers.family_name",
    CASE WHEN t.birth_date BETWEEN '0001-01-01' AND '9999-12-31' THEN t.birth_date END AS "booking_travellers.birth_date",
    b.booked_at AS "bookings.booked_at",
    (b.booked_at AT TIME ZONE current_setting('governance.time_zone'))::date AS booked_date,
    -- Whoever is an adult then is one at every later service.
    least(b.service_date, (
        SELECT min(s.starts_on) FROM wellbe.booking_services s
        WHERE s.booking_id = t.booking_id AND s.version = t.version AND s.starts_on BETWEEN '0001-01-02' AND '9999-12-31'
    )) AS first_service_date,
    g.consent_id AS "guardian_consents.consent_id",
    g.guardian_name AS "guardian_consents.guardian_name",
    g.guardian_email AS "guardian_consents.guardian_email",
    g.guardian_phone AS "guardian_consents.guardian_phone",
    g.relation AS "guardian_consents.relation",
    g.given_at AS "guardian_consents.given_at",
    g.verified_at AS "guardian_consents.verified_at",
    g.verification_method AS "guardian_consents.verification_method",
    g.guardian_birth_date AS "guardian_consents.guardian_birth_date",
    g.given_date AS consent_date,
    g.is_own AS is_own_consent,
    g.is_nameless AS is_nameless_consent,
    g.is_withdrawn AS is_withdrawn_consent
FROM (
    -- A version that was recorded twice, perhaps with different dates, brings its travellers once.
    SELECT
        booking_id, version, min(client_id) AS client_id,
        min(booked_at) FILTER (WHERE booked_at BETWEEN '0001-01-02' AND '9999-12-31') AS booked_at,
        min(service_date) FILTER (WHERE service_date BETWEEN '0001-01-02' AND '9999-12-31') AS service_date
    FROM wellbe.bookings
    WHERE
\ir of_partition.sql
    GROUP BY booking_id, version
) b
JOIN wellbe.booking_travellers t ON t.booking_id = b.booking_id AND t.version = b.version
\ir best_consent.sql
