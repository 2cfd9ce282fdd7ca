-- The clocks that retention goes by, so that every hour it finds what is due without a look at all that is not. Where a row's clock is its
-- partition, the index of partitions does.
CREATE INDEX ON records.payment_cards (captured_at);
CREATE INDEX ON records.bookings (recorded_at);
CREATE INDEX ON records.refusals (refused_at);
CREATE INDEX ON quarantine.rows (quarantined_at);
CREATE INDEX ON quarantine.findings (partition_key);
CREATE INDEX ON vault.card_holds (placed_at);
CREATE INDEX ON sharing.deliveries (created_at);

-- One card among all: to be held, or to be saved with the clock of its first capture.
CREATE INDEX ON records.payment_cards (row_key);

-- Where something of one booking or client stands, for each erasure (L3).
CREATE INDEX ON records.bookings (client_id);
CREATE INDEX ON records.payment_cards (client_id);
CREATE INDEX ON quarantine.rows (split_part(row_key, '/', 1));
CREATE INDEX ON quarantine.findings (split_part(root_key, '/', 1));
CREATE INDEX ON quarantine.reviews (split_part(row_key, '/', 1));
CREATE INDEX ON vault.saved_cards (client_id);
CREATE INDEX ON vault.card_holds (card_key);
