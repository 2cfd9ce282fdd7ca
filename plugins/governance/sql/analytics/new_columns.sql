-- Columns of a published table that no release had before this one.
INSERT INTO analytics.column_history (table_name, column_name, since_release)
SELECT %s, unnest(%s::text[]), %s
ON CONFLICT (table_name, column_name) DO NOTHING
