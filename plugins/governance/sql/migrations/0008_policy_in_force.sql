-- What views and rights of this database were made from, and in which form a landing's rows are: a hop under a policy or a version that
-- knows another one must not run.

CREATE TABLE control.in_force (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    shape      text NOT NULL,                                   -- digest of migrations, roles, purposes, zones and datasets
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Digest of how columns were made when the landing was opened. NULL: before this was noted.
ALTER TABLE control.landings ADD COLUMN form text;
