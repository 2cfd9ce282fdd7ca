-- Columns that were published before it was noted since when: since the first release of their dataset, where there is one and the table has
-- rows. A table that is new begins with the next release.
INSERT INTO analytics.column_history (table_name, column_name, since_release)
SELECT %s, unnest(%s::text[]), first.day FROM (SELECT min(partition_key) FROM analytics.releases WHERE dataset = %s) first (day)
WHERE first.day IS NOT NULL AND EXISTS (SELECT FROM {rows})
ON CONFLICT (table_name, column_name) DO NOTHING
