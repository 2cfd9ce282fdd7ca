-- Partitions in which other rows than %(keys)s stand under the keys of numbers %(numbers)s of booking %(booking)s.
SELECT DISTINCT t.partition_key
FROM records.booking_travellers t
WHERE split_part(t.row_key, '/', 1) = (%(booking)s)::text AND split_part(t.row_key, '/', 3) = ANY (%(numbers)s::text[]) AND t.row_key <> ALL (%(keys)s::text[])
ORDER BY 1
