-- Cards that are in a profile; the choice at capture is that of the row recorded last, as long as there is one.
SELECT s.card_key, s.client_id, s.captured_at, CASE WHEN last.row_key IS NULL THEN s.is_saved_to_profile ELSE last.is_saved_to_profile END,
       s.partial_number_encrypted
FROM vault.saved_cards s
LEFT JOIN LATERAL (
    SELECT m.row_key, m.is_saved_to_profile FROM vault.payment_cards m WHERE m.row_key = s.card_key ORDER BY m.partition_key DESC LIMIT 1
) last ON true
