-- Facts about clients, guardians and the days of services (L1, L2).
ALTER TABLE records.bookings
    ADD COLUMN client_birth_date_state_code text,
    ADD COLUMN client_age_at_booking_years smallint,
    ADD COLUMN client_age_with_guardian_years smallint,
    ADD COLUMN services_undated_count integer;
ALTER TABLE records.booking_travellers
    ADD COLUMN age_under_own_consent_years smallint,
    ADD COLUMN age_under_withdrawn_consent_years smallint,
    ADD COLUMN age_with_guardian_years smallint;

-- Since when a booking is in quarantine for want of a guardian's consent, however often its partition has been settled meanwhile (L3).
CREATE TABLE quarantine.reviews (
    dataset text NOT NULL,
    row_key text NOT NULL,
    since   timestamptz NOT NULL,
    PRIMARY KEY (dataset, row_key)
);
CREATE INDEX ON quarantine.rows (row_key);
INSERT INTO quarantine.reviews (dataset, row_key, since)
    SELECT dataset, row_key, min(quarantined_at) FROM quarantine.rows
    WHERE row_key IS NOT NULL AND clauses && ARRAY['L1', 'L2'] GROUP BY dataset, row_key;

CREATE FUNCTION quarantine.begin_review() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO quarantine.reviews (dataset, row_key, since)
        SELECT dataset, row_key, min(quarantined_at) FROM fresh
        WHERE row_key IS NOT NULL AND clauses && ARRAY['L1', 'L2'] GROUP BY dataset, row_key
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER begin_review AFTER INSERT ON quarantine.rows REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION quarantine.begin_review();

-- Looked at when the transaction ends: settling a batch again takes its rows out and puts them in.
CREATE FUNCTION quarantine.end_review() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM quarantine.reviews v
    WHERE v.dataset = OLD.dataset AND v.row_key = OLD.row_key AND NOT EXISTS (
        SELECT FROM quarantine.rows r WHERE r.dataset = OLD.dataset AND r.row_key = OLD.row_key AND r.clauses && ARRAY['L1', 'L2']);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER end_review AFTER DELETE ON quarantine.rows DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.clauses && ARRAY['L1', 'L2']) EXECUTE FUNCTION quarantine.end_review();

-- Whom an erasure is about, from its beginning to its end; then nothing here says so any more.
CREATE TABLE quarantine.erasures (
    erasure_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id bigint NOT NULL UNIQUE,
    travellers integer[] NOT NULL,
    clients    bigint[] NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON records.booking_travellers (split_part(row_key, '/', 1));
CREATE INDEX ON records.booking_services (split_part(root_key, '/', 1));
CREATE INDEX ON records.bookings (booking_id);

-- What was shared of a booking, and what is owed to its recipient since: that it is not used any more.
ALTER TABLE sharing.deliveries ADD COLUMN root_key text; -- row_key of the booking version that was shared
CREATE TABLE sharing.obligations (
    delivery_id text NOT NULL,
    reason      text NOT NULL,
    raised_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    met_at      timestamptz,                                -- when the recipient was told
    PRIMARY KEY (delivery_id, reason)
);
