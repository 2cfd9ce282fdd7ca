-- Row t is of a booking in which somebody counts as a minor, and whose review or erasure is not over: by nothing else does an erasure find whom it
-- is about.
(t.dataset = 'bookings'
AND (
    EXISTS (SELECT FROM quarantine.reviews v WHERE v.dataset = 'bookings' AND split_part(v.row_key, '/', 1) = split_part(t.row_key, '/', 1))
    OR EXISTS (SELECT FROM quarantine.erasures e WHERE e.booking_id::text = split_part(t.row_key, '/', 1))
)
AND EXISTS (
    SELECT FROM quarantine.findings f WHERE split_part(f.root_key, '/', 1) = split_part(t.row_key, '/', 1) AND
\ir minor_findings.sql
))
