-- The newest entry about an alarm: raised, or cleared. By the number of its connection: instants come twice when a clock is put back.
SELECT entry::jsonb FROM audit.run_log
WHERE event = 'alarm' AND entry::jsonb -> 'details' ->> 'alarm' = %(name)s
ORDER BY database_session DESC NULLS LAST, written_at DESC LIMIT 1
