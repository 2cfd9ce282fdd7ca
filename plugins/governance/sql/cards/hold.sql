INSERT INTO vault.card_holds
    (hold_id, card_key, reason, case_reference, placed_by, placed_at, expires_at, token_list, card_token, number_encrypted)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
