-- Every hold and its end.
SELECT hold_id, expires_at, released_at FROM vault.card_holds
