-- What other releases than that of partition $2 have published of people $1, those of later days too, where the first day was set back.
SELECT l.release_partition, b.* FROM (
\ir accepted_bookings.sql
) b
JOIN vault.release_ledger l ON l.dataset = 'bookings' AND l.row_key = b.row_key AND l.accepted_partition = b.partition_key
WHERE b.client_token = ANY ($1) AND l.decision = 'published' AND l.release_partition <> $2
ORDER BY l.release_partition, b.row_key
