-- R1: per dataset and partition, the equation that no row was lost or doubled, as its last hop wrote it.
-- A term that no hop has reached yet is NULL.
WITH last AS (
    SELECT DISTINCT ON (dataset, partition_key) dataset, partition_key, event, entry::jsonb -> 'conservation' AS terms
    FROM audit.run_log
    WHERE phase = 'outcome' AND outcome IN ('passed', 'no_data') AND event IN ('pull', 'validate', 'publish')
      AND entry::jsonb -> 'conservation' <> '{}'  -- of the shards of a pull, the last one has it
    ORDER BY dataset, partition_key, array_position(ARRAY['pull', 'validate', 'publish'], event) DESC, written_at DESC
)
SELECT dataset,
       partition_key,
       (terms ->> 'at_source')::bigint AS at_source,
       (terms ->> 'pulled')::bigint AS pulled,
       CASE WHEN event <> 'pull' THEN (terms ->> 'accepted')::bigint END AS accepted,
       CASE WHEN event <> 'pull' THEN (terms ->> 'quarantined')::bigint END AS quarantined,
       CASE WHEN event = 'publish' THEN (terms ->> 'carried_in')::bigint END AS carried_in,
       CASE WHEN event = 'publish' THEN (terms ->> 'published')::bigint END AS published,
       CASE WHEN event = 'publish' THEN (terms ->> 'suppressed')::bigint END AS suppressed,
       CASE WHEN event = 'publish' THEN (terms ->> 'superseded')::bigint END AS superseded,
       CASE WHEN (terms ->> 'at_source')::bigint = (terms ->> 'dropped_by_tombstone')::bigint + (terms ->> 'pulled')::bigint
             AND (event = 'pull'
                  OR (terms ->> 'pulled')::bigint = (terms ->> 'accepted')::bigint + (terms ->> 'quarantined')::bigint)
             AND (event <> 'publish'
                  OR (terms ->> 'accepted')::bigint + (terms ->> 'carried_in')::bigint
                     = (terms ->> 'published')::bigint + (terms ->> 'carried_out')::bigint + (terms ->> 'suppressed')::bigint
                       + (terms ->> 'superseded')::bigint + (terms ->> 'erased')::bigint)
            THEN 'yes' ELSE 'NO' END AS balanced
FROM last
ORDER BY dataset, partition_key DESC;
