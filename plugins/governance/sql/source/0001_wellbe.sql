-- The operational store of Wellbe, as the pipelines find it: schema `wellbe` in a cluster of its own.
--
-- It is a versioned feed. A change of a booking or a client is a new row with the next version; nothing is updated in place.
-- `recorded_at` is the instant at which the store wrote the row: the partition of a row is the Europe/Stockholm day of its
-- `recorded_at`, so a partition is the same whenever it is read again. Business instants (booked_at, viewed_at ...) may be
-- years older than that. The store enforces little on purpose: what is wrong in it, the pipelines have to notice.

CREATE SCHEMA wellbe;

CREATE TABLE wellbe.providers (
    provider_id   bigint PRIMARY KEY,
    kind          text NOT NULL,            -- 'health' | 'travel'
    name          text NOT NULL,
    country_code  text NOT NULL,            -- ISO 3166-1 alpha-2
    active_from   date NOT NULL,
    active_until  date,                     -- NULL: open-ended
    recorded_at   timestamptz NOT NULL
);

CREATE TABLE wellbe.clients (
    client_id     bigint NOT NULL,
    version       integer NOT NULL,         -- 1, 2, ... per client
    given_name    text,
    family_name   text,
    email         text,
    phone         text,                     -- E.164
    skype         text,
    birth_date    date,
    country_code  text,                     -- ISO 3166-1 alpha-2
    postcode      text,
    registered_at timestamptz,              -- business instant
    recorded_at   timestamptz NOT NULL
);

CREATE TABLE wellbe.terms_acceptances (
    acceptance_id bigint NOT NULL,
    client_id     bigint NOT NULL,
    terms_version text NOT NULL,
    channel       text NOT NULL,            -- 'web' | 'app' | 'phone'
    accepted_at   timestamptz NOT NULL,     -- business instant
    recorded_at   timestamptz NOT NULL
);

CREATE TABLE wellbe.consent_events (
    event_id      bigint NOT NULL,
    client_id     bigint NOT NULL,
    purpose       text NOT NULL,            -- 'newsletter' | 'personalised_ads' | 'health_data' | 'market_research' | 'profile_card'
    channel       text NOT NULL,            -- 'email' | 'sms' | 'phone' | 'skype' | 'web'
    decision      text NOT NULL,            -- 'given' | 'withdrawn'
    effective_at  timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    source        text NOT NULL,            -- 'checkout' | 'profile' | 'newsletter_link' | 'support'
    version       integer NOT NULL,
    recorded_at   timestamptz NOT NULL
);

CREATE TABLE wellbe.inquiries (
    inquiry_id    bigint NOT NULL,
    client_id     bigint NOT NULL,
    channel       text NOT NULL,
    message       text,
    received_at   timestamptz NOT NULL,
    answered_at   timestamptz,
    recorded_at   timestamptz NOT NULL
);

CREATE TABLE wellbe.offers (
    offer_id           bigint NOT NULL,
    inquiry_id         bigint,
    client_id          bigint NOT NULL,
    provider_id        bigint,
    status             text NOT NULL,       -- 'open' | 'accepted' | 'declined' | 'expired'
    price_amount_minor bigint,
    currency_code      text,
    opened_at          timestamptz NOT NULL,
    closed_at          timestamptz,
    recorded_at        timestamptz NOT NULL
);

CREATE TABLE wellbe.bookings (
    feed_id            bigint PRIMARY KEY,  -- one per row of the feed, in the order of recording
    booking_id         bigint NOT NULL,
    version            integer NOT NULL,    -- 1 = booked; 2, 3 ... = amended or cancelled
    client_id          bigint,
    offer_id           bigint,
    purpose_code       text,                -- the declared purpose under which the booking was taken: 'contract'
    status             text NOT NULL,       -- 'booked' | 'amended' | 'cancelled'
    booked_at          timestamptz,         -- business instant of version 1, the same in every version
    changed_at         timestamptz,         -- business instant of this version
    recorded_at        timestamptz NOT NULL,
    service_date       date,                -- first day of service
    nights_count       integer,
    price_amount_minor bigint,
    currency_code      text,                -- ISO 4217
    locale             text,                -- BCP 47
    notes              text                 -- free text
);

CREATE TABLE wellbe.booking_travellers (    -- everyone who travels or is treated, per version
    booking_id    bigint NOT NULL,
    version       integer NOT NULL,
    traveller_no  integer NOT NULL,
    role          text NOT NULL,            -- 'patient' | 'companion'
    given_name    text,
    family_name   text,
    birth_date    date,
    recorded_at   timestamptz NOT NULL
);

CREATE TABLE wellbe.booking_services (
    booking_id     bigint NOT NULL,
    version        integer NOT NULL,
    service_no     integer NOT NULL,
    kind           text NOT NULL,           -- 'health' | 'travel'
    provider_id    bigint,
    procedure_code text,                    -- health only, e.g. 'dental.implant'; the part before the dot is the specialty
    itinerary      text,                    -- travel only, free text
    starts_on      date,
    recorded_at    timestamptz NOT NULL
);

CREATE TABLE wellbe.guardian_consents (
    consent_id          bigint NOT NULL,
    booking_id          bigint NOT NULL,
    traveller_no        integer NOT NULL,
    guardian_name       text,
    guardian_email      text,
    guardian_phone      text,
    relation            text,               -- 'parent' | 'guardian'
    given_at            timestamptz,
    verified_at         timestamptz,        -- NULL: never verified
    verification_method text,               -- 'bankid' | 'signed_form'
    recorded_at         timestamptz NOT NULL
);

CREATE TABLE wellbe.payment_cards (
    card_id         bigint NOT NULL,
    client_id       bigint NOT NULL,
    booking_id      bigint,
    card_number     text,
    card_holder     text,
    card_expiry     text,                   -- 'MM/YY'
    cvv             text,                   -- refused by policy: never read
    captured_at     timestamptz,
    save_to_profile boolean,
    recorded_at     timestamptz NOT NULL
);

CREATE TABLE wellbe.page_views (
    view_id               bigint NOT NULL,
    viewed_at             timestamptz,      -- business instant
    recorded_at           timestamptz NOT NULL,
    duration_ms           bigint,
    ip                    text,
    user_agent            text,
    app_version           text,
    language              text,             -- BCP 47
    url                   text,             -- path, with query string
    referrer              text,             -- refused by policy
    session_id            text,
    first_party_cookie_id text,             -- refused by policy
    third_party_cookie_id text,             -- refused by policy
    gpc                   boolean,          -- Global Privacy Control signal; refused by policy
    device_id             text,             -- mobile app only
    device_settings       text,             -- mobile only, JSON
    latitude              double precision, -- mobile only
    longitude             double precision
);

CREATE TABLE wellbe.subject_requests (
    request_id          bigint NOT NULL,
    client_id           bigint NOT NULL,
    kind                text NOT NULL,      -- 'access' | 'rectification' | 'erasure' | 'restriction' | 'portability' | 'objection'
    received_at         timestamptz NOT NULL,
    identity_checked_at timestamptz,
    status              text NOT NULL,
    recorded_at         timestamptz NOT NULL
);

CREATE TABLE wellbe.authority_requests (
    request_id     bigint NOT NULL,
    authority      text NOT NULL,
    legal_basis    text NOT NULL,
    case_reference text NOT NULL,
    scope          text NOT NULL,
    period_from    date NOT NULL,
    period_until   date NOT NULL,
    received_at    timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL
);

CREATE INDEX bookings_recorded_at ON wellbe.bookings (recorded_at);
CREATE INDEX bookings_key ON wellbe.bookings (booking_id, version);
CREATE INDEX booking_travellers_key ON wellbe.booking_travellers (booking_id, version);
CREATE INDEX booking_services_key ON wellbe.booking_services (booking_id, version);
CREATE INDEX guardian_consents_key ON wellbe.guardian_consents (booking_id, traveller_no);
CREATE INDEX clients_key ON wellbe.clients (client_id, version);
CREATE INDEX terms_acceptances_client ON wellbe.terms_acceptances (client_id);
CREATE INDEX consent_events_client ON wellbe.consent_events (client_id);
CREATE INDEX payment_cards_recorded_at ON wellbe.payment_cards (recorded_at);
CREATE INDEX page_views_recorded_at ON wellbe.page_views (recorded_at);

-- What the generator knows about its own sample: what it was asked for, and which troubles it planted where. Only surrogate
-- keys are kept here. No pipeline role can read it.
CREATE SCHEMA sample;

CREATE TABLE sample.loads (
    load_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin      text NOT NULL,              -- 'generated' | 'imported'
    parameters  jsonb NOT NULL,
    first_day   date NOT NULL,
    last_day    date NOT NULL,
    counts      jsonb NOT NULL,
    loaded_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE sample.planted_troubles (
    dataset       text NOT NULL,            -- 'bookings' | 'visits'
    partition_key text NOT NULL,            -- 'YYYY-MM-DD', Europe/Stockholm day of recorded_at
    kind          text NOT NULL,            -- what was planted, e.g. 'minor_without_consent'
    rule          text NOT NULL,            -- the one rule meant to catch it, e.g. 'L1.adult_at_booking'
    table_name    text NOT NULL,            -- where, e.g. 'bookings'
    row_key       text NOT NULL             -- key of the row that quarantine or the refusal names, e.g. '4711/1'
);
