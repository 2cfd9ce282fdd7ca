-- When the named clients accepted the terms, with the birth date by which to say whether as adults; both as known at the partition's end, and
-- within years 1 to 9999.
SELECT
    'client ' || a.client_id AS client_ref,
    a.accepted_at,
    (a.accepted_at AT TIME ZONE current_setting('governance.time_zone'))::date AS accepted_date,
    c.birth_date
FROM wellbe.terms_acceptances a
LEFT JOIN LATERAL (
    SELECT CASE WHEN c.birth_date BETWEEN '0001-01-01' AND '9999-12-31' THEN c.birth_date END AS birth_date
    FROM wellbe.clients c
    WHERE c.client_id = a.client_id AND c.recorded_at < current_setting('governance.partition_end')::timestamptz
    ORDER BY c.version DESC, c.recorded_at DESC LIMIT 1
) c ON true
WHERE a.client_id = ANY (current_setting('governance.clients')::bigint[])
    AND a.recorded_at < current_setting('governance.partition_end')::timestamptz AND a.accepted_at BETWEEN '0001-01-02' AND '9999-12-31'
