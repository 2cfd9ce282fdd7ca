-- R1: every kind of try and how it ended. A try without an outcome is still running, or was interrupted before it could say.
SELECT i.dataset,
       i.event,
       coalesce(o.outcome, 'no outcome') AS outcome,
       count(*) AS tries,
       count(DISTINCT i.partition_key) AS partitions,
       to_char(min(i.written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS first_utc,
       to_char(max(i.written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS last_utc
FROM audit.run_log i
LEFT JOIN audit.run_log o ON o.attempt_id = i.attempt_id AND o.phase = 'outcome'
WHERE i.phase = 'intent'
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;
