-- Columns that were published before it was noted since when: since the first release of their dataset, where there is one.
INSERT INTO analytics.column_history (table_name, column_name, since_release)
SELECT %s, unnest(%s::text[]), first.day FROM (SELECT min(partition_key) FROM analytics.releases WHERE dataset = %s) first (day)
WHERE first.day IS NOT NULL
ON CONFLICT (table_name, column_name) DO NOTHING
