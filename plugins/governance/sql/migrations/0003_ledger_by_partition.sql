-- A feed that delivers at least once may bring a page view again on a later day. Each day's row is decided by itself: a key without the
-- day would take the second for decided, and no later partition could be published.
ALTER TABLE vault.release_ledger DROP CONSTRAINT release_ledger_pkey;
ALTER TABLE vault.release_ledger ADD PRIMARY KEY (dataset, accepted_partition, row_key);
CREATE INDEX ON vault.release_ledger (dataset, row_key);
