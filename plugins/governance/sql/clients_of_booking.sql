-- The clients of some versions of a booking, and when the last of these was booked, within years 1 to 9999.
SELECT client_id, max(booked_at) FILTER (WHERE booked_at BETWEEN '0001-01-02' AND '9999-12-31')
FROM wellbe.bookings
WHERE booking_id = %(booking)s AND version = ANY (%(versions)s) AND client_id IS NOT NULL
GROUP BY 1 ORDER BY 1
