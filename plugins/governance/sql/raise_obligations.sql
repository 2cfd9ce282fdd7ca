-- One obligation a delivery and booking whose recipient has still to be told: for a reason, of some bookings, and perhaps to one recipient. Whoever was
-- told something else before is told of an erasure all the same, and of a consent that was withdrawn unless erasure was told: who restricted a use, or took a
-- cancellation, still has the rows.
INSERT INTO sharing.obligations (delivery_id, booking_reference, reason)
SELECT DISTINCT h.delivery_id, h.booking_reference, asked.reason
FROM (SELECT %s::text AS reason, %s::bigint[] AS bookings, %s::text AS recipient) asked
JOIN sharing.delivered_rows h ON h.booking_id = ANY (asked.bookings)
JOIN sharing.deliveries d ON d.delivery_id = h.delivery_id
WHERE d.sent_at IS NOT NULL AND d.given_up_at IS NULL AND (asked.recipient IS NULL OR d.recipient_id = asked.recipient)
    AND (
        h.revoked_at IS NULL
        OR asked.reason = 'erased'
        OR asked.reason = 'consent withdrawn' AND NOT EXISTS (
            SELECT FROM sharing.obligations o WHERE o.delivery_id = h.delivery_id AND o.booking_reference = h.booking_reference AND o.reason = 'erased'
        )
    )
ON CONFLICT DO NOTHING
