-- Bookings that a recipient holds.
SELECT h.booking_id, max(h.version) AS version
FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
WHERE d.recipient_id = %(recipient)s AND d.given_up_at IS NULL AND d.kind = 'rows' AND h.revoked_at IS NULL
GROUP BY h.booking_id
