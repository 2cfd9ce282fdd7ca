-- Bookings of which a recipient was told that it may not use them, and not yet that they are erased.
SELECT h.booking_id, max(h.version) AS version
FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
WHERE d.recipient_id = %(recipient)s AND d.given_up_at IS NULL AND d.kind = 'rows' AND h.revoked_at IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM sharing.obligations o WHERE o.delivery_id = h.delivery_id AND o.booking_reference = h.booking_reference AND o.reason = 'erased'
    )
GROUP BY h.booking_id
