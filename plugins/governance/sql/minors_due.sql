-- Why somebody counts as a minor, by booking: of bookings one of whose reviews began at %(due)s or before, and of those whose erasure is begun. All
-- that quarantine knows of such a booking, also of a younger review, because all of it goes with the booking.
SELECT DISTINCT split_part(f.root_key, '/', 1)::bigint AS booking_id, f.partition_key, f.table_name, f.row_key
FROM quarantine.findings f
WHERE
\ir minor_findings.sql
    AND (
        split_part(f.root_key, '/', 1) IN (SELECT split_part(v.row_key, '/', 1) FROM quarantine.reviews v WHERE v.dataset = 'bookings' AND v.since <= %(due)s)
        OR split_part(f.root_key, '/', 1) IN (SELECT e.booking_id::text FROM quarantine.erasures e)
    )
ORDER BY 1, 2, 3, 4
