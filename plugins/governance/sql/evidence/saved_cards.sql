-- K3 K4: cards put into profiles and taken out of them again by the clients' choice, and choices that nobody could carry out in time.
SELECT count(*) FILTER (WHERE partition_key = 'saved') AS looks,
       coalesce(sum((entry::jsonb #>> '{counts,saved}')::bigint), 0) AS saved,
       coalesce(sum((entry::jsonb #>> '{counts,missed}')::bigint), 0) AS missed,
       coalesce(sum((entry::jsonb #>> '{counts,withdrawn}')::bigint), 0) AS withdrawn,
       coalesce(sum((entry::jsonb #>> '{counts,keys_destroyed}')::bigint) FILTER (WHERE partition_key = 'withdrawn'), 0) AS profile_keys_destroyed,
       count(*) FILTER (WHERE outcome = 'failed') AS failed
FROM audit.run_log
WHERE event = 'keep_cards' AND phase = 'outcome' AND partition_key IN ('saved', 'withdrawn');
