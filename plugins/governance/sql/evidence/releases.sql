-- E1: every release with the k and l that were measured on its very rows, and the policy and code that decided.
SELECT dataset,
       partition_key,
       (entry::jsonb #>> '{measures,k}')::integer AS k,
       (entry::jsonb #>> '{measures,l}')::integer AS l,
       (entry::jsonb #>> '{counts,table_rows}')::bigint AS table_rows,
       (entry::jsonb #>> '{conservation,published}')::bigint AS published,
       (entry::jsonb #>> '{conservation,suppressed}')::bigint AS suppressed,
       left(entry::jsonb #>> '{digests,policy}', 12) AS policy,
       left(entry::jsonb #>> '{digests,code}', 12) AS code
FROM audit.run_log
WHERE event = 'publish' AND outcome IN ('passed', 'no_data')
ORDER BY dataset, partition_key DESC;
