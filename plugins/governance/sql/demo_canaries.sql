-- Of canary bookings, whether they may go to a provider by what the source says: they name it and, of a clinic, their client's latest word on health data is
-- a consent (N1). For the demo alone, beside the code that delivers.
SELECT
    s.booking_id,
    s.provider_id = %(provider)s AND (s.kind = 'travel' OR coalesce((
        SELECT e.decision = 'given' FROM wellbe.consent_events e
        WHERE e.client_id = b.client_id AND e.purpose = 'health_data' ORDER BY e.effective_at DESC LIMIT 1
    ), false)) AS may_go
FROM wellbe.booking_services s JOIN wellbe.bookings b USING (booking_id, version)
WHERE s.kind = %(kind)s AND s.booking_id = ANY(%(bookings)s)
