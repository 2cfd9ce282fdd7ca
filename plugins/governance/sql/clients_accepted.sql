-- Of clients %(clients)s those who stand accepted in another booking than %(booking)s, as an adult or with a guardian's consent.
SELECT DISTINCT b.client_id
FROM records.bookings b
JOIN control.batches s ON s.dataset = 'bookings' AND s.partition_key = b.partition_key AND s.settled_no = b.landing_no
WHERE b.client_id = ANY (%(clients)s::bigint[]) AND b.booking_id <> %(booking)s AND b.client_age_with_guardian_years >= %(adult_years)s
