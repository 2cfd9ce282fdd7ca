-- Clients of bookings of which a recipient has acknowledged that they are erased, and whose numbers are still here.
SELECT DISTINCT h.client_id
FROM sharing.obligations o
JOIN sharing.deliveries d ON d.delivery_id = o.delivery_id
JOIN sharing.delivered_rows h ON h.delivery_id = o.delivery_id AND h.booking_reference = o.booking_reference
WHERE d.recipient_id = %(recipient)s AND o.reason = 'erased' AND o.met_at IS NOT NULL AND h.booking_id IS NOT NULL AND h.client_id IS NOT NULL
