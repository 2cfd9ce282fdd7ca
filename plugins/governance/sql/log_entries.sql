-- Entries of the run log, oldest first: all, or those of a dataset, of a partition, from an instant on.
SELECT entry::jsonb FROM audit.run_log
WHERE (%(dataset)s IS NULL OR dataset = %(dataset)s)
  AND (%(partition)s IS NULL OR partition_key = %(partition)s)
  AND (%(since)s IS NULL OR written_at >= %(since)s::date)
ORDER BY written_at, entry_id
