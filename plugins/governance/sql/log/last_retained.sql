-- Per rule of retention, the last time that it was executed: when, and how old the oldest row was that it left.
SELECT DISTINCT ON (partition_key)
    partition_key,
    (entry::jsonb ->> 'at')::timestamptz AS at,
    (entry::jsonb -> 'measures' ->> 'oldest_kept_hours')::float8 AS oldest_kept_hours
FROM audit.run_log
WHERE dataset = 'retention' AND event = 'retain' AND phase = 'outcome' AND outcome IN ('passed', 'no_data')
ORDER BY partition_key, written_at DESC
