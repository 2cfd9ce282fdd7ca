-- When the first entry of the run log was made; before the sequencer has been there, the first that waits for it.
SELECT (r.entry::jsonb ->> 'at')::timestamptz
FROM (
    (SELECT entry_id, 1 AS place FROM audit.leaves WHERE leaf_index = 0)
    UNION ALL
    (SELECT entry_id, 2 FROM audit.pending ORDER BY written_at LIMIT 1)
) AS first
JOIN audit.run_log r USING (entry_id)
ORDER BY first.place
LIMIT 1
