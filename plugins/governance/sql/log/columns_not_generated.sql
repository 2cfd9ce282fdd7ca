-- Columns of the run log that say what its entries say, and are no longer made from them by the database.
SELECT wanted.name
FROM (VALUES ('event'), ('phase'), ('attempt_id'), ('dataset'), ('partition_key'), ('outcome')) AS wanted (name)
LEFT JOIN pg_attribute a ON a.attrelid = 'audit.run_log'::regclass AND a.attname = wanted.name AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attgenerated IS DISTINCT FROM 's'
   OR pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM format('((entry)::jsonb ->> %L::text)', wanted.name)
ORDER BY wanted.name
