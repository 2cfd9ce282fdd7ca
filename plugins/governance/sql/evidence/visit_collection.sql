-- B1: per partition of visits, page views at the source, landed, held back and counted in the release, what its noisy counts spent of a visitor's budget, and the policy that named the columns.
WITH pulled AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'visits' AND event = 'pull' AND outcome IN ('passed', 'no_data')
    ORDER BY partition_key, written_at DESC
), settled AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'visits' AND event = 'validate' AND outcome IN ('passed', 'no_data')
    ORDER BY partition_key, written_at DESC
), released AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'visits' AND event = 'publish' AND outcome IN ('passed', 'no_data')
    ORDER BY partition_key, written_at DESC
)
SELECT p.partition_key,
       (p.entry #>> '{conservation,at_source}')::bigint AS views_at_source,
       (p.entry #>> '{conservation,pulled}')::bigint AS views_landed,
       (s.entry #>> '{conservation,quarantined}')::bigint AS views_held_back,
       (SELECT sum((r ->> 'failed')::bigint) FROM jsonb_array_elements(s.entry -> 'rules') r WHERE r ->> 'clause' = 'B1') AS by_rules_of_b1,
       (a.entry #>> '{conservation,published}')::bigint AS views_counted,
       (a.entry #>> '{counts,table_rows}')::bigint AS cells_published,
       (a.entry #>> '{measures,epsilon}')::float8 AS epsilon,
       (a.entry #>> '{measures,delta}')::float8 AS delta,
       left(p.entry #>> '{digests,policy}', 12) AS policy
FROM pulled p LEFT JOIN settled s USING (partition_key) LEFT JOIN released a USING (partition_key)
ORDER BY p.partition_key DESC;
