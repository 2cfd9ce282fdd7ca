-- The numbers of clients who were erased, at these instants, in what a recipient had of them until then and has acknowledged to be erased, or
-- was told by a person.
UPDATE sharing.delivered_rows h SET booking_id = NULL, client_id = NULL, revoked_at = coalesce(h.revoked_at, o.met_at)
FROM sharing.obligations o
JOIN sharing.deliveries d ON d.delivery_id = o.delivery_id
JOIN unnest(%(clients)s::bigint[], %(erased_at)s::timestamptz[]) AS gone (client_id, erased_at) ON d.read_at < gone.erased_at
WHERE h.delivery_id = o.delivery_id AND h.booking_reference = o.booking_reference AND h.client_id = gone.client_id
    AND d.recipient_id = %(recipient)s AND o.reason = 'erased' AND o.met_at IS NOT NULL AND h.booking_id IS NOT NULL
