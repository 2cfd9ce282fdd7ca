-- What analysts are told of each release: all, those of a dataset, or that of a partition. Whatever columns there are.
SELECT to_jsonb(r) FROM analytics.releases r
WHERE (%(dataset)s IS NULL OR dataset = %(dataset)s) AND (%(day)s IS NULL OR partition_key = %(day)s::date)
ORDER BY dataset, partition_key
