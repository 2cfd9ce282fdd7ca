-- Bookings of one partition whose keys are those of the first version, and whose keys they get.
SELECT t.row_id, t.row_key, 'client ' || t.client_id AS client_ref, t.client_id, {columns}
FROM {table} t
WHERE t.partition_key = %s AND ({is_earlier})
ORDER BY t.row_id
