-- L1: per partition of bookings, how many travellers were checked for their age, and how many failed which way. Counts, never an age.
WITH settled AS (
    SELECT DISTINCT ON (partition_key) partition_key, entry::jsonb AS entry
    FROM audit.run_log
    WHERE dataset = 'bookings' AND event = 'validate' AND outcome = 'passed'
    ORDER BY partition_key, written_at DESC
)
SELECT s.partition_key,
       max((r ->> 'evaluated')::bigint) FILTER (WHERE r ->> 'table' = 'booking_travellers') AS travellers_seen,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.adult_at_booking') AS minor_at_booking,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.adult_at_service') AS minor_at_service,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.birth_date_known') AS age_unknown,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.plausible_age') AS age_implausible,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.client_adult_at_booking') AS minor_client,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' IN ('L1.client_birth_date_known', 'L1.client_plausible_age')) AS client_age_unknown,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.service_dates_known') AS service_day_unknown,
       sum((r ->> 'failed')::bigint) FILTER (WHERE r ->> 'rule' = 'L1.has_travellers') AS nobody_travels
FROM settled s, jsonb_array_elements(s.entry -> 'rules') r
WHERE r ->> 'clause' = 'L1'
GROUP BY s.partition_key
ORDER BY s.partition_key DESC;
