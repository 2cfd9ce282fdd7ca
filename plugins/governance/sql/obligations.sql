-- Every obligation with its recipient, as long as the delivery is known.
SELECT o.delivery_id, d.recipient_id, o.reason, o.raised_at, o.met_at, o.booking_reference
FROM sharing.obligations o
LEFT JOIN sharing.deliveries d ON d.delivery_id = o.delivery_id
ORDER BY o.raised_at, o.delivery_id, o.booking_reference, o.reason
