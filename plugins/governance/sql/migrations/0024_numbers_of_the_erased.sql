-- Numbers of services and travellers were read by nobody: keyed references name both. Those of a booking and its client find who has to be told of an
-- erasure (GDPR article 19), and go when the recipient has said that it knows; what is left of somebody erased is references that nobody can guess.
ALTER TABLE sharing.delivered_rows
    DROP COLUMN service_no,
    DROP COLUMN traveller_no,
    ALTER COLUMN booking_id DROP NOT NULL;
CREATE INDEX ON sharing.delivered_rows (delivery_id, booking_reference);
