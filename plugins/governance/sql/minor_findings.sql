-- Of finding f: that it is why somebody counts as a minor, a traveller or the client.
f.dataset = 'bookings' AND f.clause IN ('L1', 'L2')
AND (f.table_name = 'booking_travellers' OR (f.table_name = 'bookings' AND starts_with(f.rule, 'L1.client_')))
