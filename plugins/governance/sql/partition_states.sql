-- How far each partition of a dataset has come, from a day on: counts only.
SELECT b.partition_key, b.state, b.source_counts, b.accepted, b.quarantined, b.changed_at, r.released_at
FROM control.batches b
LEFT JOIN analytics.releases r ON r.dataset = b.dataset AND r.partition_key = b.partition_key
WHERE b.dataset = %(dataset)s AND b.partition_key >= %(since)s
ORDER BY b.partition_key
