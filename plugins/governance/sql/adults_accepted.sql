-- Versions and numbers of the travellers of booking %(booking)s who stand as adults in the latest version of it that is accepted.
SELECT split_part(t.row_key, '/', 2)::integer AS version, split_part(t.row_key, '/', 3)::integer AS traveller_no
FROM (
    SELECT a.row_key, a.age_at_booking_years, max(split_part(a.row_key, '/', 2)::integer) OVER () AS latest
    FROM records.booking_travellers a
    JOIN control.batches s ON s.dataset = 'bookings' AND s.partition_key = a.partition_key AND s.settled_no = a.landing_no
    WHERE split_part(a.row_key, '/', 1) = (%(booking)s)::text
) t
WHERE split_part(t.row_key, '/', 2)::integer = t.latest AND t.age_at_booking_years >= %(adult_years)s
