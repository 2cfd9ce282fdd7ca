-- Services of one partition whose keys are those of the first version, with the client of their booking version.
SELECT t.row_id, t.row_key, 'client ' || b.client_id AS client_ref, {columns}
FROM {table} t
LEFT JOIN LATERAL (
    SELECT min(b.client_id) AS client_id FROM {bookings} b
    WHERE b.row_key = t.root_key AND b.partition_key = t.partition_key
) b ON true
WHERE t.partition_key = %s AND ({is_earlier})
ORDER BY t.row_id
