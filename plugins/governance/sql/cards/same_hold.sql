-- A hold that was asked for in the same words by the same owner and is not released.
SELECT hold_id FROM vault.card_holds
WHERE card_key = %s AND reason = %s AND case_reference = %s AND placed_by = %s AND expires_at = %s AND released_at IS NULL
  AND (number_encrypted IS NOT NULL) = %s
ORDER BY placed_at LIMIT 1
