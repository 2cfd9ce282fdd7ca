-- One obligation a delivery and booking whose recipient has still to be told: for a reason, of some bookings, and perhaps to one recipient. Whoever was
-- told something else before is told of an erasure all the same.
INSERT INTO sharing.obligations (delivery_id, booking_reference, reason)
SELECT DISTINCT h.delivery_id, h.booking_reference, asked.reason
FROM (SELECT %s::text AS reason, %s::bigint[] AS bookings, %s::text AS recipient) asked
JOIN sharing.delivered_rows h ON h.booking_id = ANY (asked.bookings)
JOIN sharing.deliveries d ON d.delivery_id = h.delivery_id
WHERE d.given_up_at IS NULL AND (h.revoked_at IS NULL OR asked.reason = 'erased') AND (asked.recipient IS NULL OR d.recipient_id = asked.recipient)
ON CONFLICT DO NOTHING
