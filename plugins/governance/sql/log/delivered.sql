-- Of deliveries, by id, those that were made before an instant, by the log.
SELECT DISTINCT entry::jsonb -> 'details' ->> 'delivery' FROM audit.run_log
WHERE event = 'deliver' AND written_at < %(before)s AND entry::jsonb -> 'details' ->> 'delivery' = ANY (%(deliveries)s)
