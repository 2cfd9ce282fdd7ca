-- J1: which policy, suite and code decided, by the beginning of their SHA-256, from when to when.
SELECT dataset,
       left(entry::jsonb #>> '{digests,policy}', 12) AS policy,
       left(entry::jsonb #>> '{digests,suite}', 12) AS suite,
       left(entry::jsonb #>> '{digests,code}', 12) AS code,
       count(*) AS outcomes,
       count(DISTINCT partition_key) AS partitions,
       to_char(min(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS first_utc,
       to_char(max(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS last_utc
FROM audit.run_log
WHERE phase = 'outcome'
GROUP BY 1, 2, 3, 4
ORDER BY max(written_at) DESC, dataset;
