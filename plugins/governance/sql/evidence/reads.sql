-- J2: who read which personal zone, for what purpose, how often and how many rows; a read that was never closed has no outcome.
SELECT entry::jsonb #>> '{reading,role}' AS database_role,
       entry::jsonb #>> '{reading,purpose}' AS purpose,
       coalesce(entry::jsonb #>> '{run,triggered_by}', entry::jsonb #>> '{run,dag_id}') AS read_by,
       dataset,
       count(*) FILTER (WHERE phase = 'intent') AS opened,
       count(*) FILTER (WHERE phase = 'outcome') AS closed,
       coalesce(sum((entry::jsonb #>> '{counts,rows}')::bigint) FILTER (WHERE phase = 'outcome'), 0) AS rows_read,
       to_char(max(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS last_utc
FROM audit.run_log
WHERE event = 'read'
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4;
