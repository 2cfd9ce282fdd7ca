-- Booking versions, of each booking the latest accepted one, that name a provider for a service that is not over, and that the recipient has not had in
-- this version or a later one. What was revoked since was had no more: a consent may be given again (F1).
SELECT DISTINCT ON (b.booking_id) b.booking_id, b.version, b.partition_key
FROM vault.booking_services s
JOIN vault.bookings b ON b.partition_key = s.partition_key AND b.row_key = s.root_key
WHERE s.provider_id = %(provider)s AND s.starts_on >= %(first_day)s
    AND NOT EXISTS (
        SELECT FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
        WHERE d.recipient_id = %(recipient)s AND d.given_up_at IS NULL AND h.booking_id = b.booking_id AND h.version >= b.version AND h.revoked_at IS NULL
    )
ORDER BY b.booking_id, b.version DESC
