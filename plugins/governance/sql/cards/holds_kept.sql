-- How many holds are not over at an instant.
SELECT count(*) FROM vault.card_holds WHERE least(expires_at, released_at) > %s
