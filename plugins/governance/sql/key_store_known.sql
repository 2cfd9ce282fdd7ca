-- What the run log last said of the key store: which one it is, and how many keys it had ever had.
SELECT entry::jsonb -> 'details' ->> 'store_id', (entry::jsonb -> 'measures' ->> 'keys')::bigint
FROM audit.run_log
WHERE coalesce(database_login, database_role) = 'custodian' AND dataset = 'keys' AND partition_key = 'all' AND event IN ('keep_keys', 'destroy_keys', 'rotate_key')
  AND phase = 'outcome' AND entry::jsonb -> 'details' ->> 'store_id' IS NOT NULL
ORDER BY database_session DESC NULLS LAST, written_at DESC LIMIT 1
