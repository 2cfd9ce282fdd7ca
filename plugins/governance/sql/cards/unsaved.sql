-- Accepted cards that are in no profile. A card that was recorded twice has the clock of its first capture.
SELECT DISTINCT ON (c.row_key) c.row_key, c.client_id, c.captured_at, c.is_saved_to_profile, c.card_number_encrypted
FROM vault.payment_cards c
WHERE NOT EXISTS (SELECT FROM vault.saved_cards s WHERE s.card_key = c.row_key)
ORDER BY c.row_key, c.captured_at
