-- Who the guardian is, and whether the consent still stands (L2). The store writes a withdrawal into the row of the consent.
ALTER TABLE wellbe.guardian_consents ADD COLUMN IF NOT EXISTS guardian_birth_date date;
ALTER TABLE wellbe.guardian_consents ADD COLUMN IF NOT EXISTS withdrawn_at timestamptz; -- NULL: it stands
