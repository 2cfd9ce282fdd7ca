-- R1: per rule of retention, the last run: rows that were due, that ended, on hold, left, the oldest left, and that nothing due is left.
SELECT DISTINCT ON (partition_key)
    partition_key AS rule,
    entry::jsonb ->> 'at' AS ran_at,
    outcome,
    (entry::jsonb -> 'counts' ->> 'due')::bigint AS due,
    (entry::jsonb -> 'counts' ->> 'ended')::bigint AS ended,
    (entry::jsonb -> 'counts' ->> 'due')::bigint - (entry::jsonb -> 'counts' ->> 'ended')::bigint AS on_hold,
    (entry::jsonb -> 'counts' ->> 'kept')::bigint AS kept,
    (entry::jsonb -> 'measures' ->> 'oldest_kept_hours')::float8 AS oldest_kept_hours,
    (entry::jsonb -> 'counts' ->> 'left_due')::bigint AS left_due
FROM audit.run_log
WHERE dataset = 'retention' AND event = 'retain' AND phase = 'outcome'
ORDER BY partition_key, written_at DESC
