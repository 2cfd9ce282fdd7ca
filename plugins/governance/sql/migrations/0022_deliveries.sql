-- Deliveries to providers (F1). Each is announced before it is put into an outbox, and closed after it: what was announced and not closed is looked for
-- there by the next try, and is either found, whole, or given up.
ALTER TABLE sharing.deliveries
    DROP COLUMN root_key,
    ADD COLUMN kind                    text NOT NULL DEFAULT 'rows',  -- or 'revocation'
    ADD COLUMN partition_key           date,                          -- of the run that delivered
    ADD COLUMN contract_kind           text,
    ADD COLUMN contract_version        text,
    ADD COLUMN purpose                 text,
    ADD COLUMN lawful_basis            text[],
    ADD COLUMN fields                  text[],                        -- names of the columns that were delivered
    ADD COLUMN rows                    bigint,
    ADD COLUMN excluded                jsonb,                         -- bookings by reason: left out by that run
    ADD COLUMN plaintext_sha256        text[],                        -- of each part; parts hold references that nobody can guess
    ADD COLUMN ciphertext_sha256       text[],
    ADD COLUMN references_sha256       text,                          -- of the references in delivered_rows
    ADD COLUMN manifest_sha256         text,
    ADD COLUMN certificate_fingerprint text,
    ADD COLUMN read_at                 timestamptz,                   -- when consents were read at the source
    ADD COLUMN attempt_id              text,                          -- in the run log
    ADD COLUMN sent_at                 timestamptz,
    ADD COLUMN given_up_at             timestamptz,                   -- announced, and never in the outbox
    ADD COLUMN acknowledged_at         timestamptz;
CREATE INDEX ON sharing.deliveries (recipient_id);

-- Whose rows a delivery held. Surrogate keys and references, no content; what a notice of revocation has to name.
CREATE TABLE sharing.delivered_rows (
    delivery_id       text NOT NULL,
    booking_id        bigint NOT NULL,
    version           integer NOT NULL,
    service_no        integer NOT NULL,
    traveller_no      integer NOT NULL,
    client_id         bigint,
    booking_reference text NOT NULL,                                  -- as the recipient knows it
    service_reference text NOT NULL,
    person_reference  text NOT NULL,
    delivered_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at        timestamptz,                                    -- a notice says that it is not used any more
    PRIMARY KEY (delivery_id, service_reference, person_reference)
);
CREATE INDEX ON sharing.delivered_rows (booking_id);
CREATE INDEX ON sharing.delivered_rows (client_id);
CREATE INDEX ON sharing.delivered_rows (delivered_at);
CREATE INDEX ON records.booking_services (provider_id, partition_key, landing_no);

-- What is owed is owed booking by booking: a delivery holds many.
ALTER TABLE sharing.obligations
    ADD COLUMN booking_reference text NOT NULL DEFAULT '',
    ADD COLUMN notice_id         text,                                -- the delivery that told the recipient
    DROP CONSTRAINT obligations_pkey,
    ADD PRIMARY KEY (delivery_id, booking_reference, reason);
