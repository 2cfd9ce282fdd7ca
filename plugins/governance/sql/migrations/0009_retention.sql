-- What retention deleted of a landing before its batch was settled, so that validation does not miss it.
CREATE TABLE control.purged (
    landing_no bigint NOT NULL REFERENCES control.landings,
    table_name text NOT NULL,
    rows       bigint NOT NULL,
    purged_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON control.purged (landing_no);
