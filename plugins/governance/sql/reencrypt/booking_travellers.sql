-- Travellers of one partition whose keys are those of the first version: their row key is booking_id/version/traveller_no.
SELECT
    t.row_id, t.row_key,
    'traveller ' || split_part(t.row_key, '/', 1) || '/' || split_part(t.row_key, '/', 3) AS traveller_ref,
    'guardian ' || split_part(t.row_key, '/', 1) || '/' || split_part(t.row_key, '/', 3) AS guardian_ref,
    {columns}
FROM {table} t
WHERE t.partition_key = %s AND ({is_earlier})
ORDER BY t.row_id
