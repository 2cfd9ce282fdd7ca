-- Holds that are over at an instant.
SELECT hold_id FROM vault.card_holds WHERE released_at IS NOT NULL OR expires_at <= %s
