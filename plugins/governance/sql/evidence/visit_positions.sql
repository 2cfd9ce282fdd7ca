-- B2: per partition of visits, how many page views were looked at for a plausible position, and how many were held back for it.
WITH settled AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'visits' AND event = 'validate' AND outcome = 'passed'
    ORDER BY partition_key, written_at DESC
)
SELECT s.partition_key,
       r ->> 'rule' AS rule,
       max((r ->> 'evaluated')::bigint) AS views_seen,
       sum((r ->> 'failed')::bigint) AS views_failed,
       left(s.entry #>> '{digests,policy}', 12) AS policy,
       left(s.entry #>> '{digests,code}', 12) AS code
FROM settled s, jsonb_array_elements(s.entry -> 'rules') r
WHERE r ->> 'clause' = 'B2'
GROUP BY s.partition_key, r ->> 'rule', s.entry
ORDER BY s.partition_key DESC;
