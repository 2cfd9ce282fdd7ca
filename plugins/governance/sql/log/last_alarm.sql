-- The newest entry about an alarm: raised, or cleared.
SELECT entry::jsonb FROM audit.run_log
WHERE event = 'alarm' AND entry::jsonb -> 'details' ->> 'alarm' = %(name)s
ORDER BY written_at DESC LIMIT 1
