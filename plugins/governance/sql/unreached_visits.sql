-- Rows that no partition brings: recorded more than a day ahead of the source's clock, or before all days. Both are found in the index.
SELECT 'page_views' AS table_name, count(*) AS rows FROM wellbe.page_views WHERE recorded_at > now() + interval '1 day' OR recorded_at < '0001-01-02'
