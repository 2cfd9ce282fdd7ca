-- Per rule of the last run of retain: rows that ended and stayed, and its seconds: since its own intent, which rules at the source write late, and
-- since the rule before.
SELECT partition_key, (entry::jsonb #>> '{counts,ended}')::bigint, (entry::jsonb #>> '{counts,kept}')::bigint,
       extract(epoch FROM written_at - greatest(before, CASE WHEN partition_key NOT LIKE '%%\_at\_source' THEN begun END))::float8
FROM (
    SELECT o.*, lag(o.written_at) OVER (ORDER BY o.written_at) AS before, i.written_at AS begun
    FROM audit.run_log o LEFT JOIN audit.run_log i ON i.attempt_id = o.attempt_id AND i.phase = 'intent'
    WHERE o.event = 'retain' AND o.phase = 'outcome'
) told
WHERE outcome <> 'failed'
ORDER BY written_at DESC
LIMIT %s
