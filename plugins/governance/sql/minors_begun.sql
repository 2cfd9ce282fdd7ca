-- Erasures that are begun and not done. One from before `booked_at` was noted is of everything before its own beginning.
SELECT erasure_no, booking_id, travellers, clients, coalesce(booked_at, begun_at) FROM quarantine.erasures ORDER BY erasure_no
