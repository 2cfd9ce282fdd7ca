-- Bookings are released in groups that lose little; what loses more waits (E1). One column per level of a quasi-identifier, NULL where the
-- group could not keep that level.
DO $$
BEGIN
    -- A database that has never had a view in its place still has the table's old name.
    EXECUTE format('ALTER TABLE %s', coalesce(to_regclass('analytics.bookings_rows'), to_regclass('analytics.bookings'))) || $columns$
        ALTER COLUMN booking_event DROP NOT NULL,
        ALTER COLUMN origin_region DROP NOT NULL,
        ALTER COLUMN party_size DROP NOT NULL,
        ALTER COLUMN lead_time DROP NOT NULL,
        ALTER COLUMN stay_length DROP NOT NULL,
        ALTER COLUMN price_band DROP NOT NULL,
        ADD COLUMN origin_country text,
        ADD COLUMN origin_continent text,
        ADD COLUMN party_size_detail text,
        ADD COLUMN lead_time_detail text,
        ADD COLUMN stay_length_detail text,
        ADD COLUMN price_band_detail text,
        ADD COLUMN price_range text
    $columns$;
END $$;

-- Whoever was published, and among which sensitive values: all that is remembered of anybody, so that who comes again is published among the
-- same ones or not at all. `person` is a keyed hash of the client's token, whose key only the publisher may use.
CREATE TABLE vault.release_people (
    person    bytea PRIMARY KEY CHECK (octet_length(person) = 8),
    signature text[] NOT NULL CHECK (cardinality(signature) > 0)
);
CREATE FUNCTION vault.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'vault.% is never changed: % refused', TG_TABLE_NAME, TG_OP;
END $$;
CREATE TRIGGER release_people_append_only BEFORE UPDATE OR TRUNCATE ON vault.release_people
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();

-- What was published of the people of a release before: the attack on it follows the day, not the history.
CREATE INDEX ON records.bookings (client_token);
