-- A consent of somebody without a name (L2).
ALTER TABLE records.booking_travellers ADD COLUMN age_under_nameless_consent_years smallint;

-- In which version each traveller of an erasure has the number beside it: in another one it may be somebody else's (L3).
ALTER TABLE quarantine.erasures ADD COLUMN versions integer[];
