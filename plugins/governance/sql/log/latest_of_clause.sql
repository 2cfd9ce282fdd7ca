-- The newest outcome that serves a clause, of a hop rather than of a read where there is one.
SELECT entry_id::text, entry::jsonb, written_at
FROM audit.run_log
WHERE phase = 'outcome' AND entry::jsonb -> 'clauses' ? %(clause)s
ORDER BY (event = 'read'), written_at DESC
LIMIT 1
