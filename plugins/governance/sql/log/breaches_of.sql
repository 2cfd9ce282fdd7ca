-- What earlier tries of one task of one run have said of breaches.
SELECT DISTINCT entry::jsonb -> 'error' ->> 'message'
FROM audit.run_log
WHERE dataset = 'retention' AND event = 'breach'
  AND entry::jsonb -> 'run' ->> 'dag_id' = %(dag_id)s
  AND entry::jsonb -> 'run' ->> 'run_id' = %(run_id)s
  AND entry::jsonb -> 'run' ->> 'task_id' = %(task_id)s
  AND (entry::jsonb -> 'run' ->> 'try_number')::int < %(try_number)s
ORDER BY 1
