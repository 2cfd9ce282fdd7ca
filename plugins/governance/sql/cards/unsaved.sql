-- Accepted cards that are in no profile, where the choice is, or may be, that they stay there: it was made at a capture, or later by one of the
-- clients who are named. A card that was recorded twice has the clock of its first capture, which is looked up: the planner expects too few cards of
-- a zone to join them all with themselves.
SELECT c.row_key, c.client_id, c.captured_at, c.is_saved_to_profile, c.card_number_encrypted
FROM (
    SELECT DISTINCT m.row_key FROM vault.payment_cards m
    WHERE (m.is_saved_to_profile OR m.client_id = ANY (%(givers)s::bigint[]))
      AND NOT EXISTS (SELECT FROM vault.saved_cards s WHERE s.card_key = m.row_key)
) wanted
CROSS JOIN LATERAL (
    SELECT first.row_key, first.client_id, first.captured_at, first.is_saved_to_profile, first.card_number_encrypted
    FROM vault.payment_cards first WHERE first.row_key = wanted.row_key ORDER BY first.captured_at LIMIT 1
) c
