-- Who holds what of a client: one row a delivery and booking. Announced deliveries that were given up are nobody's.
SELECT
    d.recipient_id, d.delivery_id, d.contract_kind, d.contract_version, d.purpose, d.lawful_basis, d.fields, d.read_at, d.sent_at, d.acknowledged_at,
    h.booking_reference, max(h.version) AS booking_version, count(*) AS rows, CASE WHEN bool_and(h.revoked_at IS NOT NULL) THEN max(h.revoked_at) END AS revoked_at
FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
WHERE h.client_id = %(client)s AND d.given_up_at IS NULL
GROUP BY d.delivery_id, h.booking_reference
ORDER BY d.sent_at, d.recipient_id, h.booking_reference
