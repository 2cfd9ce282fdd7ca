-- Intents of a rule of retention that name a transaction at the source, and have no outcome that tells of an effect.
SELECT i.attempt_id::text,
       (i.entry::jsonb -> 'counts' ->> 'due')::int,
       i.entry::jsonb -> 'details' ->> 'source_transaction',
       i.entry::jsonb -> 'details' ->> 'breaches'
FROM audit.run_log i
WHERE i.dataset = 'retention' AND i.partition_key = %(rule)s AND i.event = 'retain' AND i.phase = 'intent'
  AND i.written_at > clock_timestamp() - interval '30 days'
  AND i.entry::jsonb -> 'details' ? 'source_transaction'
  AND NOT EXISTS (
      SELECT FROM audit.run_log o
      WHERE o.attempt_id = i.attempt_id AND o.phase = 'outcome' AND o.outcome IN ('passed', 'no_data'))
ORDER BY i.written_at
