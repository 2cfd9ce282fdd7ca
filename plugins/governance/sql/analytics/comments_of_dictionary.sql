COMMENT ON VIEW analytics.data_dictionary IS 'Every column that analysts read: what it is, how coarse, and since which release.';
COMMENT ON COLUMN analytics.data_dictionary.table_name IS 'Table or view of schema analytics.';
COMMENT ON COLUMN analytics.data_dictionary.column_name IS 'Its column.';
COMMENT ON COLUMN analytics.data_dictionary.data_type IS 'PostgreSQL type; it never changes.';
COMMENT ON COLUMN analytics.data_dictionary.kind IS 'quasi-identifier, sensitive, count or interval; or about releases.';
COMMENT ON COLUMN analytics.data_dictionary.levels IS 'How the value was generalised, as policy calls it; NULL for columns about releases.';
COMMENT ON COLUMN analytics.data_dictionary.allowed_values IS 'The only values that may be published, where policy lists them.';
COMMENT ON COLUMN analytics.data_dictionary.description IS 'What the column says.';
COMMENT ON COLUMN analytics.data_dictionary.since_release IS 'Day of the first release that had the column; NULL before that, and for columns about releases.';
