-- Accepted booking versions that the release of partition $1 published and that are still there.
SELECT l.release_partition, b.* FROM (
\ir accepted_bookings.sql
) b
JOIN vault.release_ledger l ON l.dataset = 'bookings' AND l.row_key = b.row_key AND l.accepted_partition = b.partition_key
WHERE l.decision = 'published' AND l.release_partition = $1
ORDER BY b.row_key
