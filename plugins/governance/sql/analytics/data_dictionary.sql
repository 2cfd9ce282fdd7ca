-- Every column that an analyst reads, from the catalog, with what policy says of it. Placeholders in braces are filled from policy.
SELECT c.relname::text AS table_name,
       a.attname::text AS column_name,
       format_type(a.atttypid, a.atttypmod) AS data_type,
       coalesce(said.kind, 'about releases') AS kind,
       said.levels,
       said.allowed_values,
       col_description(c.oid, a.attnum) AS description,
       known.since_release
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN (VALUES {said}) said (table_name, column_name, kind, levels, allowed_values)
    ON said.table_name = c.relname AND said.column_name = a.attname
LEFT JOIN analytics.column_history known ON known.table_name = c.relname AND known.column_name = a.attname
WHERE c.relnamespace = to_regnamespace('analytics') AND c.relname IN ({shown})
ORDER BY c.relname, a.attnum
