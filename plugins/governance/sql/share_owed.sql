-- What a recipient has still to be told: of each booking and reason, the rows that it holds by the deliveries that brought them (GDPR article 19); of a booking
-- that was amended, those alone that the amendment names no more.
WITH had AS (
\ir share_had.sql
)
SELECT
    o.booking_reference, o.reason,
    array_agg(h.service_reference ORDER BY h.service_reference, h.person_reference) AS services,
    array_agg(h.person_reference ORDER BY h.service_reference, h.person_reference) AS persons,
    array_agg(DISTINCT o.delivery_id) AS deliveries,
    min(o.raised_at) AS raised_at
FROM sharing.obligations o
JOIN had h ON h.delivery_id = o.delivery_id AND h.booking_reference = o.booking_reference AND (h.is_superseded OR o.reason <> 'superseded')
WHERE o.met_at IS NULL AND o.notice_id IS NULL
GROUP BY o.booking_reference, o.reason
ORDER BY o.booking_reference, o.reason
