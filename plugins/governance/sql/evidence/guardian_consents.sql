-- L2: per partition of bookings, how many travellers were checked for a guardian's consent, and how many consents did not count.
WITH settled AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'bookings' AND event = 'validate' AND outcome = 'passed'
    ORDER BY partition_key, written_at DESC
)
SELECT s.partition_key,
       max((r ->> 'evaluated')::bigint) AS travellers_seen,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L2.guardian_consent_verified') AS consent_unverified,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L2.guardian_consent_before_booking') AS consent_late,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L2.guardian_adult') AS guardian_not_adult,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L2.guardian_is_another') AS guardian_no_other,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L2.guardian_named') AS guardian_nameless,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L2.guardian_consent_stands') AS consent_withdrawn
FROM settled s, jsonb_array_elements(s.entry -> 'rules') r
WHERE r ->> 'clause' = 'L2'
GROUP BY s.partition_key
ORDER BY s.partition_key DESC;
