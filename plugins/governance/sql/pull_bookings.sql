-- One row per booking version recorded in the partition. What is joined is as it was known at the partition's end, so that the partition is the same
-- whenever it is pulled again; a guardian's consent alone counts as it is known now. A day or an instant outside years 1 to 9999 (PostgreSQL knows more, and infinity)
-- is unknown: one such row is for the suite to catch, and must not stop the batch.
SELECT
    b.booking_id AS "bookings.booking_id",
    b.version AS "bookings.version",
    b.booking_id || '/' || b.version AS row_key,
    b.client_id AS "bookings.client_id",
    'client ' || b.client_id AS client_ref,
    b.booked_at AS begun_at,
    b.purpose_code AS "bookings.purpose_code",
    b.status AS "bookings.status",
    b.booked_at AS "bookings.booked_at",
    (b.booked_at AT TIME ZONE current_setting('governance.time_zone'))::date AS booked_date,
    b.changed_at AS "bookings.changed_at",
    b.recorded_at AS "bookings.recorded_at",
    b.service_date AS "bookings.service_date",
    b.nights_count AS "bookings.nights_count",
    b.price_amount_minor AS "bookings.price_amount_minor",
    b.currency_code AS "bookings.currency_code",
    b.locale AS "bookings.locale",
    b.notes AS "bookings.notes",
    c.version AS client_version,
    c.given_name AS "clients.given_name",
    c.family_name AS "clients.family_name",
    c.email AS "clients.email",
    c.phone AS "clients.phone",
    c.skype AS "clients.skype",
    c.birth_date AS "clients.birth_date",
    CASE WHEN c.version IS NULL THEN 'no_client' WHEN c.birth_date IS NULL THEN 'unknown' ELSE 'known' END AS client_birth_date_state_code,
    consent.guardian_birth_date AS "guardian_consents.guardian_birth_date",
    consent.given_date AS consent_date,
    c.country_code AS "clients.country_code",
    c.postcode AS "clients.postcode",
    a.terms_version AS "terms_acceptances.terms_version",
    a.channel AS "terms_acceptances.channel",
    a.accepted_at AS "terms_acceptances.accepted_at",
    extract(epoch FROM b.booked_at - a.accepted_at)::double precision AS terms_lead_seconds,
    b.service_date - (b.booked_at AT TIME ZONE current_setting('governance.time_zone'))::date AS lead_days,
    extract(epoch FROM b.recorded_at - b.booked_at)::double precision AS recording_lag_seconds,
    (SELECT count(*) FROM wellbe.booking_travellers t WHERE t.booking_id = b.booking_id AND t.version = b.version)::integer AS travellers_count,
    (SELECT count(*) FROM wellbe.booking_services s WHERE s.booking_id = b.booking_id AND s.version = b.version)::integer AS services_count,
    (SELECT count(*) FROM wellbe.booking_services s WHERE s.booking_id = b.booking_id AND s.version = b.version AND (s.starts_on BETWEEN '0001-01-02' AND '9999-12-31') IS NOT TRUE)::integer AS services_undated_count,
    CASE WHEN b.version > 0 THEN b.version - 1 - (
        SELECT count(DISTINCT p.version) FROM wellbe.bookings p
        WHERE p.booking_id = b.booking_id AND p.version BETWEEN 1 AND b.version - 1 AND p.recorded_at < current_setting('governance.partition_end')::timestamptz
    )::integer ELSE -1 END AS versions_missing_count,
    (SELECT count(*) FROM wellbe.bookings d WHERE d.booking_id = b.booking_id AND d.version = b.version AND d.recorded_at < current_setting('governance.partition_end')::timestamptz)::integer AS copies_count
FROM (
    SELECT
        booking_id, version, client_id, purpose_code, status, recorded_at, nights_count, price_amount_minor, currency_code, locale, notes,
        CASE WHEN booked_at BETWEEN '0001-01-02' AND '9999-12-31' THEN booked_at END AS booked_at,
        CASE WHEN changed_at BETWEEN '0001-01-02' AND '9999-12-31' THEN changed_at END AS changed_at,
        CASE WHEN service_date BETWEEN '0001-01-02' AND '9999-12-31' THEN service_date END AS service_date
    FROM wellbe.bookings
    WHERE
\ir of_partition.sql
) b
LEFT JOIN LATERAL (
    SELECT
        c.version, c.given_name, c.family_name, c.email, c.phone, c.skype, c.country_code, c.postcode,
        CASE WHEN c.birth_date BETWEEN '0001-01-01' AND '9999-12-31' THEN c.birth_date END AS birth_date
    FROM wellbe.clients c
    WHERE c.client_id = b.client_id AND c.recorded_at < current_setting('governance.partition_end')::timestamptz
    ORDER BY c.version DESC, c.recorded_at DESC LIMIT 1
) c ON true
LEFT JOIN LATERAL (
    SELECT a.terms_version, a.channel, a.accepted_at
    FROM wellbe.terms_acceptances a
    WHERE a.client_id = b.client_id AND a.recorded_at < current_setting('governance.partition_end')::timestamptz AND a.accepted_at BETWEEN '0001-01-02' AND '9999-12-31'
    ORDER BY a.accepted_at, a.terms_version, a.channel LIMIT 1
) a ON true
LEFT JOIN LATERAL (
    -- Of the traveller who is the client: nobody else's consent speaks for the client, and only one without flaw does.
    SELECT g.guardian_birth_date, g.given_date
    FROM wellbe.booking_travellers t
\ir best_consent.sql
    WHERE t.booking_id = b.booking_id AND t.version = b.version AND t.birth_date = c.birth_date
        AND lower(btrim(t.given_name)) = lower(btrim(c.given_name)) AND lower(btrim(t.family_name)) = lower(btrim(c.family_name))
        AND NOT g.is_withdrawn AND NOT g.is_own AND NOT g.is_nameless AND g.given_at < b.booked_at AND g.verified_at < b.booked_at
    ORDER BY g.guardian_birth_date LIMIT 1
) consent ON true
