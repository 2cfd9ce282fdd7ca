-- Cards that the source may have, as arrays in text: those whose first capture was before an instant, and the oldest of the others.
WITH due AS (
    SELECT card_key, captured_at FROM control.first_captures WHERE is_at_source AND captured_at < %(end)s
), oldest AS (
    SELECT card_key, captured_at FROM control.first_captures WHERE is_at_source AND captured_at >= %(end)s ORDER BY captured_at LIMIT %(others)s
), listed AS (
    SELECT card_key, captured_at FROM due UNION ALL SELECT card_key, captured_at FROM oldest
)
SELECT (SELECT coalesce(array_agg(card_key), '{}')::text FROM due),
       (SELECT coalesce(array_agg(card_key ORDER BY card_key), '{}')::text FROM listed),
       (SELECT coalesce(array_agg(captured_at ORDER BY card_key), '{}')::text FROM listed),
       statement_timestamp()
