-- An accepted card, by its first capture.
SELECT card_number_encrypted, captured_at FROM vault.payment_cards WHERE row_key = %s ORDER BY captured_at LIMIT 1
