-- Versions and numbers of the travellers of booking %(booking)s who are accepted, with their ages when it was booked.
SELECT split_part(t.row_key, '/', 2)::integer AS version, split_part(t.row_key, '/', 3)::integer AS traveller_no, t.age_at_booking_years
FROM records.booking_travellers t
JOIN control.batches s ON s.dataset = 'bookings' AND s.partition_key = t.partition_key AND s.settled_no = t.landing_no
WHERE split_part(t.row_key, '/', 1) = (%(booking)s)::text
ORDER BY 1, 2
