-- Oblige us to tell a recipient of each service and person that an amendment, which it has, names no more (GDPR article 5(1)(d), 19).
WITH had AS (
\ir share_had.sql
)
INSERT INTO sharing.obligations (delivery_id, booking_reference, reason)
SELECT DISTINCT delivery_id, booking_reference, 'superseded' FROM had WHERE is_superseded AND revoked_at IS NULL
ON CONFLICT DO NOTHING
