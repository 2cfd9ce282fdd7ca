-- Holds that are over at an instant.
SELECT hold_id FROM vault.card_holds WHERE least(expires_at, released_at) <= %s
