-- Bookings one of whose reviews began at %(due)s or before, with everyone who is a minor there: travellers, and the versions whose client is one.
-- All of them, also those of a younger review, because what quarantine knows of a booking goes with it.
SELECT
    split_part(f.root_key, '/', 1)::bigint AS booking_id,
    coalesce(array_agg(DISTINCT split_part(f.row_key, '/', 3)::integer) FILTER (WHERE f.table_name = 'booking_travellers'), '{}') AS travellers,
    coalesce(array_agg(DISTINCT split_part(f.root_key, '/', 2)::integer) FILTER (WHERE f.table_name = 'bookings'), '{}') AS client_versions
FROM quarantine.findings f
WHERE
\ir minor_findings.sql
    AND split_part(f.root_key, '/', 1) IN (SELECT split_part(v.row_key, '/', 1) FROM quarantine.reviews v WHERE v.dataset = 'bookings' AND v.since <= %(due)s)
    AND NOT EXISTS (SELECT FROM quarantine.erasures e WHERE e.booking_id = split_part(f.root_key, '/', 1)::bigint)
GROUP BY 1
ORDER BY 1
