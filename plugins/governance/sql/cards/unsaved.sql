-- Accepted cards that are in no profile, where the choice is, or may be, that they stay there: it was made at a capture, or later by one of the
-- clients who are named. A card that was recorded twice has the clock of its first capture, the choice of the row recorded last, and the number of
-- the last one with that clock, so that it is under the key of that hour. Both are looked up: the planner expects too few cards of a zone to join
-- them all with themselves.
SELECT first.row_key, first.client_id, first.captured_at, last.is_saved_to_profile, numbered.card_number_encrypted
FROM (
    SELECT DISTINCT m.row_key FROM vault.payment_cards m
    WHERE (m.is_saved_to_profile OR m.client_id = ANY (%(givers)s::bigint[]))
      AND NOT EXISTS (SELECT FROM vault.saved_cards s WHERE s.card_key = m.row_key)
) wanted
CROSS JOIN LATERAL (
    SELECT m.row_key, m.client_id, m.captured_at
    FROM vault.payment_cards m WHERE m.row_key = wanted.row_key ORDER BY m.captured_at, m.partition_key LIMIT 1
) first
CROSS JOIN LATERAL (
    SELECT m.is_saved_to_profile FROM vault.payment_cards m WHERE m.row_key = wanted.row_key ORDER BY m.partition_key DESC LIMIT 1
) last
CROSS JOIN LATERAL (
    SELECT m.card_number_encrypted FROM vault.payment_cards m
    WHERE m.row_key = wanted.row_key AND m.captured_at IS NOT DISTINCT FROM first.captured_at ORDER BY m.partition_key DESC LIMIT 1
) numbered
