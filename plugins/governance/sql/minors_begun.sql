-- Erasures that are begun and not done. One from before `booked_at` was noted is of everything before its own beginning; one from before `versions` were
-- noted is of these numbers where quarantine has them.
SELECT
    e.erasure_no, e.booking_id,
    ARRAY(
        SELECT ARRAY[noted.version, noted.traveller_no] FROM unnest(e.versions, e.travellers) AS noted (version, traveller_no) WHERE e.versions IS NOT NULL
        UNION
        SELECT ARRAY[split_part(f.row_key, '/', 2)::integer, split_part(f.row_key, '/', 3)::integer]
        FROM quarantine.findings f
        WHERE e.versions IS NULL AND f.dataset = 'bookings' AND f.table_name = 'booking_travellers'
            AND split_part(f.root_key, '/', 1) = e.booking_id::text AND split_part(f.row_key, '/', 3)::integer = ANY (e.travellers)
        ORDER BY 1
    ) AS travellers,
    e.clients, coalesce(e.booked_at, e.begun_at)
FROM quarantine.erasures e
ORDER BY e.erasure_no
