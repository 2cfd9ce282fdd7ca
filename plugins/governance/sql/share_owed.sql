-- What a recipient has still to be told: of each booking and reason, the rows that it holds by the deliveries that brought them (GDPR article 19).
SELECT
    o.booking_reference, o.reason,
    array_agg(h.service_reference ORDER BY h.service_reference, h.person_reference) AS services,
    array_agg(h.person_reference ORDER BY h.service_reference, h.person_reference) AS persons,
    array_agg(DISTINCT o.delivery_id) AS deliveries,
    min(o.raised_at) AS raised_at
FROM sharing.obligations o
JOIN sharing.deliveries d ON d.delivery_id = o.delivery_id
JOIN sharing.delivered_rows h ON h.delivery_id = o.delivery_id AND h.booking_reference = o.booking_reference
WHERE d.recipient_id = %(recipient)s AND o.met_at IS NULL AND o.notice_id IS NULL AND d.sent_at IS NOT NULL
GROUP BY o.booking_reference, o.reason
ORDER BY o.booking_reference, o.reason
