-- Every hold, for whoever answers for them.
SELECT hold_id, card_key, reason, case_reference, placed_by, placed_at, expires_at, released_at, number_encrypted IS NOT NULL
FROM vault.card_holds ORDER BY placed_at, hold_id
