-- Ids of the keys that each act of destruction has destroyed.
SELECT entry::jsonb -> 'keys' FROM audit.run_log
WHERE event = 'destroy_keys' AND outcome = 'passed' AND entry::jsonb ? 'keys'
