-- Decides every accepted page view, up to partition %(day)s, that no release has decided yet, and returns the cells that are published.
-- Of a visitor, the first %(limit)s views count, in the order of their keys, which does not depend on when they were made; a cell is published
-- when at least %(k)s distinct visitors are counted in it. What follows checks the cells; here alone are rows looked at.
WITH candidates AS MATERIALIZED (
    SELECT
        v.row_key,
        v.partition_key,
        v.visitor_token,
        coalesce(v.country_code, 'unknown') AS country_code,
        coalesce(v.device_class, 'unknown') AS device_class,
        coalesce(v.page_category, 'unknown') AS page_category,
        row_number() OVER (PARTITION BY v.visitor_token ORDER BY v.row_key COLLATE "C", v.partition_key) <= %(limit)s AS counts
    FROM vault.page_views v
    WHERE v.partition_key <= %(day)s
      AND NOT EXISTS (SELECT FROM vault.release_ledger r
                      WHERE r.dataset = 'visits' AND r.accepted_partition = v.partition_key AND r.row_key = v.row_key)
), cells AS (
    SELECT country_code, device_class, page_category, sum(views)::bigint AS views_count, count(*) AS visitors_count
    FROM (
        SELECT country_code, device_class, page_category, visitor_token, count(*) AS views
        FROM candidates WHERE counts
        GROUP BY country_code, device_class, page_category, visitor_token
    ) of_visitors
    GROUP BY country_code, device_class, page_category
    HAVING count(*) >= %(k)s
), decided AS (
    INSERT INTO vault.release_ledger (dataset, row_key, accepted_partition, release_partition, decision)
    SELECT 'visits', c.row_key, c.partition_key, %(day)s,
           CASE WHEN c.counts AND cells.views_count IS NOT NULL THEN 'published' ELSE 'suppressed' END
    FROM candidates c LEFT JOIN cells USING (country_code, device_class, page_category)
    ORDER BY c.partition_key, c.row_key  -- as the ledger's index has them, which is written in a third of the time then
)
SELECT country_code, device_class, page_category, views_count, visitors_count
FROM cells
ORDER BY country_code COLLATE "C", device_class COLLATE "C", page_category COLLATE "C"
