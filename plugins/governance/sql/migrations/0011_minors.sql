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
