-- Per partition that was settled, published or not: rows in quarantine for want of a guardian's consent, and, of the bookings %(withdrawn)s, travellers who are
-- accepted. As settled last: a landing that nobody validated, because a try was killed between the hops, changes nothing.
SELECT b.partition_key, found.table_name, found.row_key, found.is_held
FROM control.batches b
JOIN (
    SELECT f.partition_key, f.table_name, f.row_key, true AS is_held
    FROM quarantine.findings f
    WHERE f.dataset = 'bookings' AND f.clause IN ('L1', 'L2') AND f.table_name IN ('bookings', 'booking_travellers')
    UNION
    SELECT t.partition_key, 'booking_travellers', t.row_key, false
    FROM records.booking_travellers t
    JOIN control.batches s ON s.dataset = 'bookings' AND s.partition_key = t.partition_key AND s.settled_no = t.landing_no
    WHERE split_part(t.row_key, '/', 1) = ANY (%(withdrawn)s::text[])
) found ON found.partition_key = b.partition_key
WHERE b.dataset = 'bookings' AND b.settled_no IS NOT NULL
ORDER BY 1, 2, 3
