-- What the source holds for [$1, $2), counted in the snapshot that is read. Named by landed table.
SELECT 'page_views' AS table_name, count(*) AS rows FROM wellbe.page_views WHERE recorded_at >= $1 AND recorded_at < $2
