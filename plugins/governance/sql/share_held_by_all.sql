-- Who holds which of some bookings, and who was told that it may not use one, and not yet that it is erased: see share_held.sql and share_told.sql.
SELECT h.booking_id, d.recipient_id, h.revoked_at IS NULL AS is_held, max(h.version) AS version
FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
WHERE h.booking_id > %(after)s AND h.booking_id <= %(last)s AND d.given_up_at IS NULL AND d.kind = 'rows'
    AND (h.revoked_at IS NULL OR NOT EXISTS (
        SELECT FROM sharing.obligations o WHERE o.delivery_id = h.delivery_id AND o.booking_reference = h.booking_reference AND o.reason = 'erased'
    ))
GROUP BY 1, 2, 3
