-- Accepted booking versions up to partition $1 that no release has decided.
SELECT b.* FROM (
\ir accepted_bookings.sql
) b
WHERE b.partition_key <= $1
  AND NOT EXISTS (SELECT FROM vault.release_ledger r WHERE r.dataset = 'bookings' AND r.row_key = b.row_key)
ORDER BY b.partition_key, b.row_key
