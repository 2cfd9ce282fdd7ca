-- Note that the recipient of a delivery was told, by hand: of an amendment, rows that it names no more are told apart by notices alone.
WITH met AS (
    UPDATE sharing.obligations SET met_at = %(at)s
    WHERE delivery_id = %(delivery)s AND reason = %(reason)s AND met_at IS NULL
    RETURNING delivery_id, booking_reference, reason
), revoked AS (
    UPDATE sharing.delivered_rows h SET revoked_at = %(at)s
    FROM met
    WHERE met.reason <> 'superseded' AND h.delivery_id = met.delivery_id AND h.booking_reference = met.booking_reference AND h.revoked_at IS NULL
)
SELECT count(*) FROM met HAVING count(*) > 0
