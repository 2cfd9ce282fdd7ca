-- A1: per partition of bookings, how many booking versions the rules of A1 saw, and how many each held back.
WITH settled AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'bookings' AND event = 'validate' AND outcome = 'passed'
    ORDER BY partition_key, written_at DESC
)
SELECT s.partition_key,
       max((r ->> 'evaluated')::bigint) AS bookings_seen,
       count(DISTINCT r ->> 'rule') AS rules,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'A1.terms_accepted') AS no_terms,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'A1.terms_accepted_before_booking') AS terms_late,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'A1.known_purpose') AS no_purpose,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'A1.known_client') AS no_client,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' !~ '^A1\.(terms_|known_purpose|known_client)') AS implausible
FROM settled s, jsonb_array_elements(s.entry -> 'rules') r
WHERE r ->> 'clause' = 'A1'
GROUP BY s.partition_key
ORDER BY s.partition_key DESC;
