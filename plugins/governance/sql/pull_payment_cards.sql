-- Cards recorded in the partition, each with the booking version recorded last in the partition. An instant outside years 1 to 9999 is unknown.
SELECT
    c.card_id::text AS row_key,
    (
        SELECT b.booking_id || '/' || b.version FROM wellbe.bookings b
        WHERE b.booking_id = c.booking_id AND b.recorded_at >= current_setting('governance.partition_start')::timestamptz AND b.recorded_at < current_setting('governance.partition_end')::timestamptz
        ORDER BY b.version DESC LIMIT 1
    ) AS root_key,
    'client ' || c.client_id AS client_ref,
    CASE WHEN c.captured_at BETWEEN '0001-01-02' AND '9999-12-31' THEN c.captured_at END AS begun_at,
    to_char(c.captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24') AS card_ref,
    c.client_id AS "payment_cards.client_id",
    c.booking_id AS "payment_cards.booking_id",
    c.card_number AS "payment_cards.card_number",
    c.card_holder AS "payment_cards.card_holder",
    c.card_expiry AS "payment_cards.card_expiry",
    CASE WHEN c.captured_at BETWEEN '0001-01-02' AND '9999-12-31' THEN c.captured_at END AS "payment_cards.captured_at",
    c.save_to_profile AS "payment_cards.save_to_profile"
FROM wellbe.payment_cards c
WHERE c.recorded_at >= current_setting('governance.partition_start')::timestamptz AND c.recorded_at < current_setting('governance.partition_end')::timestamptz
    AND mod(mod(coalesce(c.booking_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
