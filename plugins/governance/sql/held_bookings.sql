-- What a release has not decided: rows that it holds, of its own partition and of earlier ones.
SELECT b.partition_key = %(day)s, count(*)
FROM vault.bookings b
WHERE b.partition_key <= %(day)s
  AND NOT EXISTS (SELECT FROM vault.release_ledger r WHERE r.dataset = 'bookings' AND r.row_key = b.row_key)
GROUP BY 1
