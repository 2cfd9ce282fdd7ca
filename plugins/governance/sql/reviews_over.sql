-- Reviews of bookings %(bookings)s, of whom nobody is erased, end when they and all that quarantine has of them are as old as %(term)s: until then a birth
-- date may still be mended at the source, and afterwards the rows are as those in quarantine for any other reason.
DELETE FROM quarantine.reviews v
WHERE v.dataset = 'bookings' AND split_part(v.row_key, '/', 1) = ANY (%(bookings)s::text[]) AND v.since <= %(term)s
    AND NOT EXISTS (
        SELECT FROM quarantine.rows r
        WHERE r.dataset = 'bookings' AND split_part(r.row_key, '/', 1) = split_part(v.row_key, '/', 1) AND r.quarantined_at > %(term)s
    )
