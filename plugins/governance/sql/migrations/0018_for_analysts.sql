-- What analysts are told about releases (E1), and what went to third parties (E2). A published table is from now on a view
-- `analytics.<name>` over `analytics.<name>_rows`, which publication appends to: analytics_views.py makes both from policy.

-- What policy said of each release, as far as it makes a release more or less precise.
CREATE TABLE analytics.release_settings (
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    setting       text NOT NULL,
    value         text NOT NULL,
    PRIMARY KEY (dataset, partition_key, setting)
);
COMMENT ON TABLE analytics.release_settings IS 'What policy said at each release of how precise it is: measures, levels, values, hierarchies.';
COMMENT ON COLUMN analytics.release_settings.dataset IS 'Dataset of the release, as in analytics.releases.';
COMMENT ON COLUMN analytics.release_settings.partition_key IS 'Day of the release; with the dataset, joins analytics.releases.';
COMMENT ON COLUMN analytics.release_settings.setting IS 'Name of the value in policy; of a column, table.column; of a hierarchy, its file.';
COMMENT ON COLUMN analytics.release_settings.value IS 'Its value as text; of a hierarchy, the beginning of its SHA-256.';

CREATE TABLE analytics.release_notes (
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    what          text NOT NULL,
    value_before  text,
    value_after   text,
    told          text NOT NULL,
    PRIMARY KEY (dataset, partition_key, what)
);
COMMENT ON TABLE analytics.release_notes IS 'What changed in the precision of a release since the one before it. Look here before you read a jump as a trend.';
COMMENT ON COLUMN analytics.release_notes.dataset IS 'Dataset of the release, as in analytics.releases.';
COMMENT ON COLUMN analytics.release_notes.partition_key IS 'Day of the first release for which the new value holds.';
COMMENT ON COLUMN analytics.release_notes.what IS 'The setting that changed, as in analytics.release_settings.';
COMMENT ON COLUMN analytics.release_notes.value_before IS 'Its value at the release before; NULL when there was none.';
COMMENT ON COLUMN analytics.release_notes.value_after IS 'Its value from this release on; NULL when there is none any more.';
COMMENT ON COLUMN analytics.release_notes.told IS 'The change in words, and what it means for a reader.';

CREATE TABLE analytics.release_bias (
    dataset          text NOT NULL,
    partition_key    date NOT NULL,
    dimension        text NOT NULL,
    value            text NOT NULL,
    published        bigint NOT NULL,
    missing_at_least bigint NOT NULL,
    share_at_most    numeric(3, 2) NOT NULL,
    PRIMARY KEY (dataset, partition_key, dimension, value)
);
COMMENT ON TABLE analytics.release_bias IS 'Which values of which column miss rows in a release, because rows were suppressed or held. Told only of at least k people, and coarsely.';
COMMENT ON COLUMN analytics.release_bias.dataset IS 'Dataset of the release, as in analytics.releases.';
COMMENT ON COLUMN analytics.release_bias.partition_key IS 'Day of the release; with the dataset, joins analytics.releases.';
COMMENT ON COLUMN analytics.release_bias.dimension IS 'A published column, looked at by itself.';
COMMENT ON COLUMN analytics.release_bias.value IS 'Its value; (all other values) stands for those of which too few people are missing to be told apart.';
COMMENT ON COLUMN analytics.release_bias.published IS 'Rows of the release with the value.';
COMMENT ON COLUMN analytics.release_bias.missing_at_least IS 'At least so many rows with the value were accepted or held and are not in the release: a multiple of k, rounded down.';
COMMENT ON COLUMN analytics.release_bias.share_at_most IS 'At most this share of the rows with the value is in the release: published / (published + missing_at_least).';

-- Since which release a column is published; analysts see it in analytics.data_dictionary.
CREATE TABLE analytics.column_history (
    table_name    text NOT NULL,
    column_name   text NOT NULL,
    since_release date NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
COMMENT ON TABLE analytics.column_history IS 'Since which release a column is published; shown by analytics.data_dictionary.';
COMMENT ON COLUMN analytics.column_history.table_name IS 'Published table, without its schema.';
COMMENT ON COLUMN analytics.column_history.column_name IS 'Column of the published table.';
COMMENT ON COLUMN analytics.column_history.since_release IS 'Day of the first release that had the column.';

CREATE TRIGGER release_settings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.release_settings
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();
CREATE TRIGGER release_notes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.release_notes
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();
CREATE TRIGGER release_bias_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.release_bias
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();
CREATE TRIGGER column_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.column_history
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();

-- Releases that were handed to third parties, each once.
CREATE TABLE sharing.release_deliveries (
    third_party    text NOT NULL,                                   -- its id in policies/third_parties.yaml
    table_name     text NOT NULL,
    partition_key  date NOT NULL,
    sidecar_sha256 text NOT NULL,                                   -- of release.json, which has the digests of the other files
    delivered_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (third_party, table_name, partition_key)
);
