-- Zones are schemas, each audience a role that can reach its zone and no other. Roles are created with the cluster
-- (they need passwords); column grants in vault and landing are generated from policy after the migrations.

CREATE SCHEMA control;
CREATE SCHEMA landing;
CREATE SCHEMA quarantine;
CREATE SCHEMA vault;
CREATE SCHEMA analytics;
CREATE SCHEMA sharing;
CREATE SCHEMA audit;

-- ---------------------------------------------------------------------------------------------------------------- audit
CREATE TABLE audit.run_log (
    entry_id      uuid PRIMARY KEY,
    written_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    database_role name NOT NULL DEFAULT session_user,
    entry         text NOT NULL,                            -- canonical JSON (RFC 8785), the bytes that digests are taken of
    event         text NOT NULL GENERATED ALWAYS AS ((entry::jsonb) ->> 'event') STORED,
    phase         text NOT NULL GENERATED ALWAYS AS ((entry::jsonb) ->> 'phase') STORED,
    attempt_id    text NOT NULL GENERATED ALWAYS AS ((entry::jsonb) ->> 'attempt_id') STORED,
    dataset       text GENERATED ALWAYS AS ((entry::jsonb) ->> 'dataset') STORED,
    partition_key text GENERATED ALWAYS AS ((entry::jsonb) ->> 'partition_key') STORED,
    outcome       text GENERATED ALWAYS AS ((entry::jsonb) ->> 'outcome') STORED,
    entry_sha256  bytea NOT NULL
);
CREATE INDEX run_log_batch ON audit.run_log (dataset, partition_key, event);
CREATE INDEX run_log_attempt ON audit.run_log (attempt_id);

COMMENT ON TABLE audit.run_log IS 'One entry per intent and outcome of every hop; append-only through audit.append. Holds no personal data of clients, travellers or visitors.';
COMMENT ON COLUMN audit.run_log.entry_id IS 'Identifier of the entry, the entry_id inside it.';
COMMENT ON COLUMN audit.run_log.written_at IS 'Instant at which the database wrote the entry (UTC).';
COMMENT ON COLUMN audit.run_log.database_role IS 'Role that was logged in when the entry was appended.';
COMMENT ON COLUMN audit.run_log.entry IS 'The entry: canonical JSON (RFC 8785).';
COMMENT ON COLUMN audit.run_log.event IS 'What was done: pull, validate, publish ...';
COMMENT ON COLUMN audit.run_log.phase IS 'intent (about to happen) or outcome (happened, in the transaction of its effect).';
COMMENT ON COLUMN audit.run_log.attempt_id IS 'Joins an intent to its outcome; an intent without one was interrupted.';
COMMENT ON COLUMN audit.run_log.dataset IS 'Dataset of the batch.';
COMMENT ON COLUMN audit.run_log.partition_key IS 'Partition of the batch, YYYY-MM-DD, Europe/Stockholm.';
COMMENT ON COLUMN audit.run_log.outcome IS 'passed, failed, no_data or replayed; NULL for an intent.';
COMMENT ON COLUMN audit.run_log.entry_sha256 IS 'SHA-256 of the entry''s UTF-8 bytes.';

-- The one way in. SECURITY DEFINER, so that no role needs INSERT on the table.
CREATE FUNCTION audit.append(entry text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parsed jsonb := entry::jsonb;
BEGIN
    IF parsed ->> 'format' IS DISTINCT FROM 'wellbe-run-log/1'
       OR parsed ->> 'entry_id' IS NULL OR parsed ->> 'event' IS NULL OR parsed ->> 'attempt_id' IS NULL
       OR parsed ->> 'phase' NOT IN ('intent', 'outcome')
       OR (parsed ->> 'phase' = 'outcome') <> (parsed ->> 'outcome' IS NOT NULL)
    THEN
        RAISE EXCEPTION 'not a run-log entry: format, entry_id, event, attempt_id, phase and outcome are required';
    END IF;
    INSERT INTO audit.run_log (entry_id, entry, entry_sha256)
    VALUES ((parsed ->> 'entry_id')::uuid, append.entry, sha256(convert_to(append.entry, 'UTF8')));
    RETURN (parsed ->> 'entry_id')::uuid;
END $$;

CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit.run_log is append-only: % refused', TG_OP;
END $$;
CREATE TRIGGER run_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.run_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- -------------------------------------------------------------------------------------------------------------- control
-- State of each partition's batch: counts and digests only.
CREATE TABLE control.batches (
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    state         text NOT NULL CHECK (state IN ('landed', 'settled')),
    run_id        text NOT NULL,                            -- the run that pulled it
    pull_attempt  text NOT NULL,
    source_counts jsonb NOT NULL,                           -- per table, counted at the source in the snapshot that was read
    landed_counts jsonb NOT NULL,
    refused       jsonb NOT NULL DEFAULT '{}',              -- per rule: refused at pull (K1)
    accepted      bigint,                                   -- root rows
    quarantined   bigint,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dataset, partition_key)
);

-- -------------------------------------------------------------------------------------------------------------- landing
CREATE TABLE landing.bookings (
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    partition_key date NOT NULL,
    row_key text,
    booking_id bigint,
    version integer,
    client_id bigint,
    client_token text,
    purpose_code text,
    status text,
    booked_at timestamptz,
    changed_at timestamptz,
    recorded_at timestamptz,
    service_date date,
    nights_count integer,
    price_amount_minor bigint,
    currency_code text,
    locale text,
    notes_encrypted bytea,
    notes_card_numbers_count smallint,
    notes_cvv_count smallint,
    client_version integer,
    client_given_name_encrypted bytea,
    client_family_name_encrypted bytea,
    client_email_encrypted bytea,
    client_email_defect_code text,
    client_phone_encrypted bytea,
    client_skype_encrypted bytea,
    client_birth_date_encrypted bytea,
    client_country_code text,
    client_postcode_encrypted bytea,
    terms_version text,
    terms_channel text,
    terms_accepted_at timestamptz,
    terms_lead_seconds double precision,
    lead_days integer,
    recording_lag_seconds double precision,
    travellers_count integer,
    services_count integer,
    versions_missing_count integer,
    copies_count integer
);

CREATE TABLE landing.booking_travellers (
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    partition_key date NOT NULL,
    row_key text,
    root_key text,
    role text,
    given_name_encrypted bytea,
    family_name_encrypted bytea,
    birth_date_encrypted bytea,
    age_at_booking_years smallint,
    age_at_booking_without_consent_years smallint,
    age_at_service_without_consent_years smallint,
    age_under_unverified_consent_years smallint,
    age_under_late_consent_years smallint,
    guardian_name_encrypted bytea,
    guardian_email_encrypted bytea,
    guardian_phone_encrypted bytea,
    guardian_relation text,
    guardian_consent_given_at timestamptz,
    guardian_consent_verified_at timestamptz,
    guardian_verification_method text
);

CREATE TABLE landing.booking_services (
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    partition_key date NOT NULL,
    row_key text,
    root_key text,
    service_no integer,
    kind text,
    provider_id bigint,
    provider_state_code text,
    procedure_code_encrypted bytea,
    procedure_state_code text,
    itinerary_encrypted bytea,
    itinerary_card_numbers_count smallint,
    itinerary_cvv_count smallint,
    starts_on date
);

CREATE TABLE landing.payment_cards (
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    partition_key date NOT NULL,
    row_key text,
    root_key text,
    client_id bigint,
    booking_id bigint,
    card_number_encrypted bytea,
    card_holder_encrypted bytea,
    card_expiry_encrypted bytea,
    captured_at timestamptz,
    is_saved_to_profile boolean
);

CREATE TABLE landing.page_views (
    row_id bigint GENERATED ALWAYS AS IDENTITY,
    partition_key date NOT NULL,
    row_key text,
    viewed_at timestamptz,
    recorded_at timestamptz,
    recording_lag_seconds double precision,
    viewed_year integer,
    duration_ms bigint,
    ip_encrypted bytea,
    ip_version smallint,
    user_agent_encrypted bytea,
    browser text,
    operating_system text,
    device_class text,
    app_version text,
    language text,
    country_code text,
    path_encrypted bytea,
    path_characters_count integer,
    path_card_numbers_count smallint,
    page_category text,
    session_token text,
    device_token text,
    visitor_token text,
    device_settings_encrypted bytea,
    latitude_grid_degrees double precision,
    longitude_grid_degrees double precision,
    coordinates_state_code text
);

CREATE INDEX ON landing.bookings (partition_key);
CREATE INDEX ON landing.booking_travellers (partition_key);
CREATE INDEX ON landing.booking_services (partition_key);
CREATE INDEX ON landing.payment_cards (partition_key);
CREATE INDEX ON landing.page_views (partition_key);

-- ---------------------------------------------------------------------------------------------------------------- vault
CREATE TABLE vault.bookings (LIKE landing.bookings, PRIMARY KEY (partition_key, row_id));
CREATE TABLE vault.booking_travellers (LIKE landing.booking_travellers, PRIMARY KEY (partition_key, row_id));
CREATE TABLE vault.booking_services (LIKE landing.booking_services, PRIMARY KEY (partition_key, row_id));
CREATE TABLE vault.payment_cards (LIKE landing.payment_cards, PRIMARY KEY (partition_key, row_id));
CREATE TABLE vault.page_views (LIKE landing.page_views, PRIMARY KEY (partition_key, row_id));
CREATE UNIQUE INDEX ON vault.bookings (row_key);
CREATE INDEX ON vault.booking_travellers (root_key);
CREATE INDEX ON vault.booking_services (root_key);
CREATE UNIQUE INDEX ON vault.page_views (partition_key, row_key);

-- What publication has decided about each accepted row, once: releases are append-only, so a row is decided in one release.
CREATE TABLE vault.release_ledger (
    dataset           text NOT NULL,
    row_key           text NOT NULL,
    accepted_partition date NOT NULL,
    release_partition date NOT NULL,
    decision          text NOT NULL CHECK (decision IN ('published', 'suppressed', 'superseded', 'erased')),
    PRIMARY KEY (dataset, row_key)
);
CREATE INDEX ON vault.release_ledger (dataset, release_partition);

-- ----------------------------------------------------------------------------------------------------------- quarantine
CREATE TABLE quarantine.findings (
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    table_name    text NOT NULL,
    row_id        bigint NOT NULL,
    row_key       text,
    root_key      text,                                     -- row_key of the root row that goes to quarantine with it
    rule          text NOT NULL,
    clause        text NOT NULL,
    severity      text NOT NULL,
    PRIMARY KEY (dataset, partition_key, table_name, row_id, rule)
);

CREATE TABLE quarantine.rows (
    dataset        text NOT NULL,
    partition_key  date NOT NULL,
    row_id         bigint NOT NULL,
    row_key        text,
    rules          text[] NOT NULL,
    clauses        text[] NOT NULL,
    run_id         text NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dataset, partition_key, row_id)
);

-- What pull refused to let in (K1: cards past their term), by key and rule.
CREATE TABLE quarantine.refusals (
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    table_name    text NOT NULL,
    row_key       text NOT NULL,
    rule          text NOT NULL,
    refused_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON quarantine.refusals (dataset, partition_key);

-- ------------------------------------------------------------------------------------------------------------ analytics
CREATE TABLE analytics.releases (
    release_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    k             integer,
    l             integer,
    rows          bigint NOT NULL,
    suppressed    bigint NOT NULL,
    policy_digest text NOT NULL,
    released_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (dataset, partition_key)
);
COMMENT ON TABLE analytics.releases IS 'One row per published partition of a dataset. Releases are append-only: nothing published is changed or taken back.';
COMMENT ON COLUMN analytics.releases.release_id IS 'Number of the release, in the order of publication.';
COMMENT ON COLUMN analytics.releases.dataset IS 'bookings (table analytics.bookings) or visits (table analytics.visits_daily).';
COMMENT ON COLUMN analytics.releases.partition_key IS 'Day of recording, Europe/Stockholm; joins recorded_date of the published tables.';
COMMENT ON COLUMN analytics.releases.k IS 'Smallest number of distinct people in any published group, measured on the published rows; NULL when nothing was published.';
COMMENT ON COLUMN analytics.releases.l IS 'Smallest number of distinct values of any sensitive column in any published group; NULL when there is none.';
COMMENT ON COLUMN analytics.releases.rows IS 'Rows of the dataset that went into the release (bookings: rows; visits: page views counted).';
COMMENT ON COLUMN analytics.releases.suppressed IS 'Rows that were accepted but left out, because their group was too small or too uniform (visits: also views beyond the bound of one visitor).';
COMMENT ON COLUMN analytics.releases.policy_digest IS 'SHA-256 of the policy in force.';
COMMENT ON COLUMN analytics.releases.released_at IS 'Instant of publication (UTC).';

CREATE TABLE analytics.bookings (
    recorded_date     date NOT NULL,
    booking_event     text NOT NULL,
    origin_region     text NOT NULL,
    party_size        text NOT NULL,
    lead_time         text NOT NULL,
    stay_length       text NOT NULL,
    service_specialty text NOT NULL,
    price_band        text NOT NULL
);
CREATE INDEX ON analytics.bookings (recorded_date);

CREATE TABLE analytics.visits_daily (
    recorded_date  date NOT NULL,
    country_code   text NOT NULL,
    device_class   text NOT NULL,
    page_category  text NOT NULL,
    views_count    bigint NOT NULL,
    visitors_count bigint NOT NULL,
    PRIMARY KEY (recorded_date, country_code, device_class, page_category)
);

CREATE FUNCTION analytics.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'analytics.% is append-only: % refused', TG_TABLE_NAME, TG_OP;
END $$;
CREATE TRIGGER releases_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.releases
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();
CREATE TRIGGER bookings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.bookings
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();
CREATE TRIGGER visits_daily_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.visits_daily
    FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change();

-- -------------------------------------------------------------------------------------------------------------- sharing
-- Filled by provider sharing; here so that the zone and its role exist from the start.
CREATE TABLE sharing.deliveries (
    delivery_id  text PRIMARY KEY,
    recipient_id text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
