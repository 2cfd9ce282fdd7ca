-- Accepted cards that are in no profile, counted by the key that their numbers are under, with one such number.
SELECT min(card_number_encrypted), count(*)
FROM (
    SELECT DISTINCT ON (c.row_key) c.card_number_encrypted
    FROM vault.payment_cards c
    WHERE NOT EXISTS (SELECT FROM vault.saved_cards s WHERE s.card_key = c.row_key)
    ORDER BY c.row_key, c.captured_at
) unsaved
WHERE card_number_encrypted IS NOT NULL
GROUP BY substring(card_number_encrypted FROM 2 FOR 16)
