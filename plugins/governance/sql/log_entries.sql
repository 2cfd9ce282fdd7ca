-- Every entry of the run log, oldest first.
SELECT entry::jsonb FROM audit.run_log ORDER BY written_at, entry_id
