-- Cards of one partition whose keys are those of the first version, with the hour (UTC) of their capture.
SELECT
    t.row_id, t.row_key,
    to_char(t.captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24') AS card_ref,
    {columns}
FROM {table} t
WHERE t.partition_key = %s AND ({is_earlier})
ORDER BY t.row_id
