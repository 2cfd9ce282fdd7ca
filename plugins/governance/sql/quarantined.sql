-- Rows held back or refused, per dataset, partition, rule and table.
SELECT dataset, partition_key, rule, table_name, count(*), array_agg(row_key ORDER BY row_key)
FROM (
    SELECT dataset, partition_key, rule, table_name, row_key FROM quarantine.findings
    UNION ALL
    SELECT dataset, partition_key, rule, table_name, row_key FROM quarantine.refusals
) held
WHERE (%s IS NULL OR dataset = %s) AND (%s IS NULL OR partition_key = %s::date)
GROUP BY dataset, partition_key, rule, table_name
ORDER BY dataset, partition_key, rule, table_name
