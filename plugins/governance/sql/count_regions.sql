-- Visitors of partition %(day)s by cell of the grid. A visitor has one place per day, drawn by lot as in decide_visits.sql.
SELECT cell_code, count(*) AS exact, count(*) AS people
FROM (
    SELECT DISTINCT ON (coalesce(visitor_token, '')) cell_code
    FROM vault.page_views
    WHERE partition_key = %(day)s AND cell_code IS NOT NULL
    ORDER BY coalesce(visitor_token, ''), sha256(convert_to(concat_ws('|', visitor_token, cell_code), 'UTF8')), cell_code
) of_visitors
GROUP BY cell_code
ORDER BY cell_code COLLATE "C"
