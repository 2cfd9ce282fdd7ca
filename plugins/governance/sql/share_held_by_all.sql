-- Who holds which of some bookings: see share_held.sql.
SELECT DISTINCT h.booking_id, d.recipient_id
FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
WHERE h.booking_id > %(after)s AND h.booking_id <= %(last)s AND d.given_up_at IS NULL AND d.kind = 'rows' AND h.revoked_at IS NULL
