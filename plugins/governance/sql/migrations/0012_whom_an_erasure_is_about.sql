-- The latest booking by which a client is erased: whoever begins anew after it is another subject, whom the erasure leaves alone (L3).
ALTER TABLE quarantine.erasures ADD COLUMN booked_at timestamptz;
