-- Whose a hold is, if it is not over at an instant and was not released.
SELECT placed_by FROM vault.card_holds WHERE hold_id = %s AND released_at IS NULL AND expires_at > %s
