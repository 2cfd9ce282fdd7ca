-- R1: per dataset and partition, the equation that no row was lost or doubled, as the last hop that changed something wrote it.
WITH last AS (
    SELECT DISTINCT ON (dataset, partition_key) dataset, partition_key, event, entry::jsonb -> 'conservation' AS terms
    FROM audit.run_log
    WHERE phase = 'outcome' AND outcome IN ('passed', 'no_data') AND event IN ('pull', 'validate', 'publish')
    ORDER BY dataset, partition_key, array_position(ARRAY['pull', 'validate', 'publish'], event) DESC, written_at DESC
)
SELECT dataset,
       partition_key,
       event AS up_to,
       (terms ->> 'at_source')::bigint AS at_source,
       (terms ->> 'pulled')::bigint AS pulled,
       (terms ->> 'accepted')::bigint AS accepted,
       (terms ->> 'quarantined')::bigint AS quarantined,
       (terms ->> 'carried_in')::bigint AS carried_in,
       (terms ->> 'published')::bigint AS published,
       (terms ->> 'suppressed')::bigint AS suppressed,
       (terms ->> 'superseded')::bigint AS superseded,
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
