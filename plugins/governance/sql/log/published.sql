-- The entries of publications that had their effect: all, of a dataset, or of a partition.
SELECT entry::jsonb FROM audit.run_log
WHERE event = 'publish' AND outcome IN ('passed', 'no_data')
  AND (%(dataset)s IS NULL OR dataset = %(dataset)s)
  AND (%(partition)s IS NULL OR partition_key = %(partition)s)
ORDER BY written_at
