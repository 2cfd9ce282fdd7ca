-- A consent of somebody without a name (L2).
ALTER TABLE records.booking_travellers ADD COLUMN age_under_nameless_consent_years smallint;
