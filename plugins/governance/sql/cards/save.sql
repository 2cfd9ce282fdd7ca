INSERT INTO vault.saved_cards (card_key, client_id, captured_at, is_saved_to_profile, partial_number_encrypted) VALUES %s
