-- An accepted card, by its first capture.
SELECT card_number_encrypted FROM vault.payment_cards WHERE row_key = %s ORDER BY captured_at LIMIT 1
