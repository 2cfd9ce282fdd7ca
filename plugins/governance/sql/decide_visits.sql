-- Decides every accepted page view, up to partition %(day)s, that no release has decided yet, and returns the exact cells of its sessions,
-- which never leave us as they are. A view counts once per session and cell; of a visitor, %(contributions)s pairs of session and cell count,
-- at most %(per_cell)s of them in one cell. Which ones is drawn by lot: the SHA-256 of the pair and the visitor's pseudonym, which is a
-- keyed one (HMAC) under the key of the day, so that nobody can arrange to be counted, and the same views give the same lot. A view of an
-- earlier day came after that day was closed: its visitor may have spent the day's bound, and it counts nowhere.
WITH views AS MATERIALIZED (
    SELECT v.row_key, v.partition_key, v.partition_key = %(day)s AS is_own, visitor, cell.*,
           sha256(convert_to(concat_ws('|', visitor, v.session_token, cell::text), 'UTF8')) AS lot
    FROM vault.page_views v
    CROSS JOIN LATERAL (SELECT coalesce(v.visitor_token, '') COLLATE "C") who (visitor)
    CROSS JOIN LATERAL (
        SELECT coalesce(v.country_code, 'unknown') COLLATE "C", coalesce(v.device_class, 'unknown') COLLATE "C",
               coalesce(v.page_category, 'unknown') COLLATE "C", coalesce(v.language_code, 'unknown') COLLATE "C"
    ) cell (country_code, device_class, page_category, language_code)
    WHERE v.partition_key <= %(day)s
      AND NOT EXISTS (SELECT FROM vault.release_ledger r
                      WHERE r.dataset = 'visits' AND r.accepted_partition = v.partition_key AND r.row_key = v.row_key)
), pairs AS (
    SELECT DISTINCT ON (lot) lot, visitor, country_code, device_class, page_category, language_code FROM views WHERE is_own ORDER BY lot
), in_cells AS (
    SELECT *, row_number() OVER (PARTITION BY visitor, country_code, device_class, page_category, language_code ORDER BY lot) AS nth FROM pairs
), in_order AS (
    SELECT *, row_number() OVER (PARTITION BY visitor ORDER BY lot) AS place FROM in_cells WHERE nth <= %(per_cell)s
), counted AS MATERIALIZED (
    SELECT * FROM in_order WHERE place <= %(contributions)s
), decided AS (
    INSERT INTO vault.release_ledger (dataset, row_key, accepted_partition, release_partition, decision)
    SELECT 'visits', v.row_key, v.partition_key, %(day)s, CASE WHEN c.place IS NULL THEN 'suppressed' ELSE 'published' END
    FROM views v LEFT JOIN counted c ON v.is_own AND c.lot = v.lot
    ORDER BY v.partition_key, v.row_key  -- as the ledger's index has them, which is written in a third of the time then
)
SELECT country_code, device_class, page_category, language_code, count(*) AS exact, count(*) FILTER (WHERE nth = 1) AS people
FROM counted
GROUP BY country_code, device_class, page_category, language_code
ORDER BY country_code, device_class, page_category, language_code
