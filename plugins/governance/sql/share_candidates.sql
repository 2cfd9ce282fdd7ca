-- Booking versions, of each booking the latest accepted one, that name a provider for a service that is not over, and that the recipient has not had in
-- this version or a later one. What was revoked since was had no more: a consent may be given again (F1). Step by step, and each booking looked up by its
-- key: whoever takes the views for empty, as the planner does, would compare every service with every booking.
WITH named AS MATERIALIZED (
    SELECT DISTINCT s.partition_key, s.root_key, split_part(s.root_key, '/', 1)::bigint AS booking_id, split_part(s.root_key, '/', 2)::integer AS version
    FROM vault.booking_services s
    WHERE s.provider_id = %(provider)s AND s.starts_on >= %(first_day)s
), had AS MATERIALIZED (
    SELECT h.booking_id, max(h.version) AS version
    FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
    WHERE d.recipient_id = %(recipient)s AND d.given_up_at IS NULL AND h.revoked_at IS NULL
    GROUP BY h.booking_id
), new AS MATERIALIZED (
    SELECT n.* FROM named n LEFT JOIN had h USING (booking_id) WHERE h.version IS NULL OR h.version < n.version
)
SELECT DISTINCT ON (n.booking_id) n.booking_id, n.version, n.partition_key
FROM new n
CROSS JOIN LATERAL (SELECT FROM vault.bookings b WHERE b.row_key = n.root_key AND b.partition_key = n.partition_key LIMIT 1) accepted
ORDER BY n.booking_id, n.version DESC
