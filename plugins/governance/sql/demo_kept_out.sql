-- Who must not reach a provider, of those who booked with it: without a consent to health data, with a request that stands, or with a planted trouble, such as
-- a minor without a guardian's consent. Of a card that is too old, and of a row that came twice, the booking itself is sound. For the demo alone.
SELECT DISTINCT
    b.booking_id, t.given_name, t.family_name, to_char(b.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS changed_at
FROM wellbe.bookings b
JOIN wellbe.booking_services s USING (booking_id, version)
JOIN wellbe.booking_travellers t USING (booking_id, version)
WHERE s.provider_id = %(provider)s AND s.kind = %(kind)s AND t.given_name IS NOT NULL AND (
    (s.kind = 'health' AND NOT coalesce((
        SELECT e.decision = 'given' FROM wellbe.consent_events e
        WHERE e.client_id = b.client_id AND e.purpose = 'health_data' ORDER BY e.effective_at DESC LIMIT 1
    ), false))
    OR b.client_id IN (SELECT client_id FROM wellbe.subject_requests WHERE kind IN ('restriction', 'objection', 'erasure'))
    OR b.booking_id || '/' || b.version IN (
        SELECT split_part(row_key, '/', 1) || '/' || split_part(row_key, '/', 2) FROM sample.planted_troubles
        WHERE dataset = 'bookings' AND table_name <> 'payment_cards' AND kind <> 'duplicate_version'
    )
)
