-- E2 C6: what was handed to which third party, or refused, with the figures that were measured of it.
SELECT left(entry::jsonb ->> 'at', 16) AS at,
       entry::jsonb #>> '{details,third_party}' AS third_party,
       dataset,
       partition_key,
       outcome,
       (entry::jsonb #>> '{measures,k}')::integer AS k,
       (entry::jsonb #>> '{measures,l}')::integer AS l,
       left(entry::jsonb #>> '{details,sidecar_sha256}', 12) AS sidecar,
       entry::jsonb #>> '{error,type}' AS refused_with
FROM audit.run_log
WHERE event = 'hand_over' AND phase = 'outcome'
ORDER BY written_at DESC;
