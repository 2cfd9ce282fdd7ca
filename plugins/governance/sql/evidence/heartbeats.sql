-- R1: the log's own signs of life, the newest first: what the last signed checkpoint before each covered. Compare it with those that you hold.
SELECT to_char(written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS heartbeat_utc,
       (entry::jsonb #>> '{measures,last_size}')::bigint AS entries_signed,
       coalesce(split_part(entry::jsonb #>> '{details,last_checkpoint}', ' ', 3), '') AS root,
       jsonb_array_length(entry::jsonb -> 'alarms') AS alarms
FROM audit.run_log
WHERE event = 'heartbeat'
ORDER BY written_at DESC
LIMIT 24;
