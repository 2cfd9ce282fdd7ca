-- Page views of one partition whose keys are those of the first version.
SELECT t.row_id, t.row_key, {columns}
FROM {table} t
WHERE t.partition_key = %s AND ({is_earlier})
ORDER BY t.row_id
