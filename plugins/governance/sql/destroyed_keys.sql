-- Ids of the keys that each act of destruction has destroyed; only the custodian is believed, who alone destroys.
SELECT entry::jsonb -> 'keys' FROM audit.run_log
WHERE coalesce(database_login, database_role) = 'custodian' AND event = 'destroy_keys' AND outcome = 'passed' AND entry::jsonb ? 'keys'
