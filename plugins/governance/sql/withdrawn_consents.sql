-- Bookings of which a guardian's consent was withdrawn, for any traveller.
SELECT DISTINCT booking_id FROM wellbe.guardian_consents WHERE withdrawn_at IS NOT NULL
