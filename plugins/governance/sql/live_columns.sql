-- Every column of every relation that holds rows and that somebody made, in any schema, read from the catalog, so that missing grants hide nothing:
-- tables (unlogged ones, partitions and children of inheritance each for themselves), materialised views, foreign tables, and large objects as
-- what they are stored in. Not here: views, sequences and types, which hold no rows; indexes and TOAST, which go with their table; temporary
-- tables, which end with their session.
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384 -- below are those that a server is born with
UNION ALL
SELECT 'pg_catalog', 'pg_largeobject', NULL, NULL WHERE EXISTS (SELECT FROM pg_largeobject_metadata)
ORDER BY 1, 2, 3
