-- Cards that are held there.
INSERT INTO vault.card_holds (hold_id, card_key, reason, case_reference, placed_by, placed_at, expires_at, token_list, card_token)
SELECT 'hold ' || n, n::text, 'fraud', '7', 'bench', timestamptz %(now)s, timestamptz %(now)s + interval '90 days', 'card holds 2026-03', md5(n::text)
FROM generate_series(0, %(cards)s - 1, %(held)s) n
