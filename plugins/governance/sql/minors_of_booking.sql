-- Travellers of booking %(booking)s who are in quarantine for want of a guardian's consent: versions, and their numbers there.
SELECT DISTINCT split_part(f.row_key, '/', 2)::integer, split_part(f.row_key, '/', 3)::integer
FROM quarantine.findings f
WHERE f.dataset = 'bookings' AND f.clause IN ('L1', 'L2') AND f.table_name = 'booking_travellers' AND split_part(f.root_key, '/', 1) = (%(booking)s)::text
