-- The last entry of an event that was done, by the number of its connection: instants come twice when a clock is put back. Its own instant
-- only where that has been, by the clock as it is now.
SELECT CASE WHEN written_at <= clock_timestamp() THEN written_at END, entry::jsonb
FROM audit.run_log
WHERE event = %(event)s AND outcome = 'passed'
ORDER BY database_session DESC NULLS LAST, written_at DESC LIMIT 1
