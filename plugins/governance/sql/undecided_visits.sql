-- Accepted page views up to partition $1 that no release has decided. A view that the feed brings again on another day is another row.
SELECT v.row_key, v.partition_key, v.visitor_token, v.country_code, v.device_class, v.page_category
FROM vault.page_views v
WHERE v.partition_key <= $1
  AND NOT EXISTS (SELECT FROM vault.release_ledger r WHERE r.dataset = 'visits' AND r.accepted_partition = v.partition_key AND r.row_key = v.row_key)
ORDER BY v.partition_key, v.row_key
