-- Visits are published as counts with noise (E1, B1, B2). What they are made from lands: the language without its region, the cell of the
-- grid, and minutes of which differences are taken.
ALTER TABLE records.page_views ADD COLUMN viewed_minute bigint, ADD COLUMN language_code text, ADD COLUMN cell_code text;

-- Exact counts are in zone audit and nowhere else. Those of earlier versions move there.
ALTER TABLE analytics.visits_daily SET SCHEMA audit;
COMMENT ON TABLE audit.visits_daily IS 'Exact counts of page views, as earlier versions published them; nothing is added.';

CREATE TABLE audit.release_measures (
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    k             integer,
    l             integer,
    rows          bigint NOT NULL,
    suppressed    bigint NOT NULL,
    PRIMARY KEY (dataset, partition_key)
);
COMMENT ON TABLE audit.release_measures IS 'What releases of noisy counts were made from, exactly: rows that were counted and those that were not, and k as measured.';

CREATE TABLE audit.exact_counts (
    table_name    text NOT NULL,
    recorded_date date NOT NULL,
    cell          text NOT NULL,                            -- values of its columns, in their order
    exact         bigint,                                   -- NULL where fewer than k people were counted
    people        bigint,
    PRIMARY KEY (table_name, recorded_date, cell)
);
COMMENT ON TABLE audit.exact_counts IS 'The exact counts behind published noisy ones, for the auditor; NULL where fewer than k people were counted. Cells that were not published are not here.';

INSERT INTO audit.release_measures
    SELECT dataset, partition_key, k, l, rows, suppressed FROM analytics.releases WHERE dataset = 'visits';
ALTER TABLE analytics.releases ALTER COLUMN rows DROP NOT NULL, ALTER COLUMN suppressed DROP NOT NULL;
ALTER TABLE analytics.releases DISABLE TRIGGER releases_append_only;
UPDATE analytics.releases SET k = NULL, l = NULL, rows = NULL, suppressed = NULL WHERE dataset = 'visits';
ALTER TABLE analytics.releases ENABLE TRIGGER releases_append_only;
ALTER TABLE analytics.releases ADD CONSTRAINT releases_nothing_exact_of_visits
    CHECK (dataset <> 'visits' OR num_nonnulls(k, l, rows, suppressed) = 0);
COMMENT ON COLUMN analytics.releases.dataset IS 'bookings (table analytics.bookings) or visits (tables analytics.visits_... and analytics.inquiries_funnel).';
COMMENT ON COLUMN analytics.releases.k IS 'Smallest number of distinct people in any published group, measured on the published rows; NULL when nothing was published, and for visits, whose counts carry noise.';
COMMENT ON COLUMN analytics.releases.rows IS 'Rows of the dataset that went into the release; NULL for visits, whose counts carry noise.';
COMMENT ON COLUMN analytics.releases.suppressed IS 'Rows that were accepted but left out, because their group was too small or too uniform; NULL for visits.';

-- The ledger: what each table of a period cost. Its key is what makes a period published once.
CREATE TABLE analytics.privacy_budget (
    table_name    text NOT NULL,
    recorded_date date NOT NULL,
    protects      text NOT NULL,
    epsilon       double precision NOT NULL CHECK (epsilon > 0),
    delta         double precision NOT NULL CHECK (delta >= 0 AND delta < 1),
    contributions integer NOT NULL CHECK (contributions > 0),
    per_cell      integer NOT NULL CHECK (per_cell BETWEEN 1 AND contributions),
    noise_scale   double precision NOT NULL CHECK (noise_scale > 0),
    threshold     integer,
    policy_digest text NOT NULL,
    spent_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_name, recorded_date)
);
COMMENT ON TABLE analytics.privacy_budget IS 'What each table of noisy counts spent of the privacy of one person in one period (differential privacy). Budgets of one day add up over its tables; a period is published once.';
COMMENT ON COLUMN analytics.privacy_budget.table_name IS 'Table of this schema.';
COMMENT ON COLUMN analytics.privacy_budget.recorded_date IS 'The closed period; joins recorded_date of the table.';
COMMENT ON COLUMN analytics.privacy_budget.protects IS 'Whom the noise hides: one visitor, as told apart within one day, or one client in the inquiries of one day.';
COMMENT ON COLUMN analytics.privacy_budget.epsilon IS 'Epsilon: how much more likely any table may be with the person than without, as a logarithm.';
COMMENT ON COLUMN analytics.privacy_budget.delta IS 'Delta: probability that a cell is there which would not be without the person. 0 where cells are known beforehand.';
COMMENT ON COLUMN analytics.privacy_budget.contributions IS 'What one person adds to all counts of the table at most.';
COMMENT ON COLUMN analytics.privacy_budget.per_cell IS 'What one person adds to one count at most.';
COMMENT ON COLUMN analytics.privacy_budget.noise_scale IS 'Scale of the noise (discrete Laplace): the standard deviation is about 1.41 times as much.';
COMMENT ON COLUMN analytics.privacy_budget.threshold IS 'Least noisy count with which a cell is published; NULL where every cell is.';
COMMENT ON COLUMN analytics.privacy_budget.policy_digest IS 'SHA-256 of the policy in force.';
COMMENT ON COLUMN analytics.privacy_budget.spent_at IS 'Instant of publication (UTC).';

CREATE TABLE analytics.visits_sessions (
    recorded_date  date NOT NULL,
    country_code   text NOT NULL,
    device_class   text NOT NULL,
    page_category  text NOT NULL,
    language_code  text NOT NULL,
    sessions_count bigint NOT NULL,
    sessions_low   bigint NOT NULL,
    sessions_high  bigint NOT NULL,
    PRIMARY KEY (recorded_date, country_code, device_class, page_category, language_code)
);

CREATE TABLE analytics.visits_regions (
    recorded_date  date NOT NULL,
    cell_code      text NOT NULL,
    cell_degrees   double precision,
    south_degrees  double precision,
    west_degrees   double precision,
    visitors_count bigint NOT NULL,
    visitors_low   bigint NOT NULL,
    visitors_high  bigint NOT NULL,
    PRIMARY KEY (recorded_date, cell_code)
);

CREATE TABLE analytics.visits_search_to_booking (
    recorded_date     date NOT NULL,
    search_to_booking text NOT NULL,
    visitors_count    bigint NOT NULL,
    visitors_low      bigint NOT NULL,
    visitors_high     bigint NOT NULL,
    PRIMARY KEY (recorded_date, search_to_booking)
);

CREATE TABLE analytics.inquiries_funnel (
    recorded_date date NOT NULL,
    furthest_step text NOT NULL,
    clients_count bigint NOT NULL,
    clients_low   bigint NOT NULL,
    clients_high  bigint NOT NULL,
    PRIMARY KEY (recorded_date, furthest_step)
);

-- Counts come with their budget, in one transaction, or not at all: nobody adds to a period that was published.
CREATE FUNCTION analytics.require_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh f WHERE NOT EXISTS (
            SELECT FROM analytics.privacy_budget b
            WHERE b.table_name = regexp_replace(TG_TABLE_NAME, '_rows$', '') AND b.recorded_date = f.recorded_date AND b.xmin = pg_current_xact_id()::xid))
    THEN
        RAISE EXCEPTION 'analytics.% is published once per period: no budget was spent on these counts', TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['visits_sessions', 'visits_regions', 'visits_search_to_booking', 'inquiries_funnel'] LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON analytics.%I REFERENCING NEW TABLE AS fresh '
                       'FOR EACH STATEMENT EXECUTE FUNCTION analytics.require_budget()', name || '_require_budget', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['analytics.privacy_budget', 'analytics.visits_sessions', 'analytics.visits_regions',
                                'analytics.visits_search_to_booking', 'analytics.inquiries_funnel', 'audit.release_measures', 'audit.exact_counts'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change()', split_part(name, '.', 2) || '_append_only', name);
    END LOOP;
END $$;
