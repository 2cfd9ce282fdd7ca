-- Rows of a table that retention has ended of a partition since it was settled.
SELECT coalesce(sum(p.rows), 0)
FROM control.batches b JOIN control.purged p ON p.landing_no = b.settled_no AND p.table_name = %(table)s AND p.purged_at > b.changed_at
WHERE b.dataset = %(dataset)s AND b.partition_key = %(day)s
