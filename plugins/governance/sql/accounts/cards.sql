-- What stays of the cards that end, by hour (UTC) of their capture (K2 K3). A card that was recorded twice counts once.
SELECT coalesce(to_char(captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), 'unknown') AS of,
       count(*) AS captured,
       count(*) FILTER (WHERE is_saved AND NOT is_held) AS saved_only,
       count(*) FILTER (WHERE is_held AND NOT is_saved) AS held_only,
       count(*) FILTER (WHERE is_saved AND is_held) AS both,
       count(*) FILTER (WHERE NOT is_saved AND NOT is_held) AS gone
FROM (
    SELECT DISTINCT ON (t.row_key) t.captured_at,
           EXISTS (SELECT FROM vault.saved_cards s WHERE s.card_key = t.row_key) AS is_saved,
           EXISTS (SELECT FROM vault.card_holds h WHERE h.card_key = t.row_key) AS is_held
    FROM records.payment_cards t
    WHERE {due}
    ORDER BY t.row_key, t.captured_at
) ended
GROUP BY 1
ORDER BY 1
