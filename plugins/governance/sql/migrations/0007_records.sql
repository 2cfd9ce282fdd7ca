-- A row is written once. Zones of a row are a fact about its batch: `landing` and `vault` are views of the tables in `records`, and
-- control.batches says which landing each of them shows. To settle a batch deletes what goes to quarantine and turns one number; nothing is
-- copied. A landing may be brought by several tasks, shard by shard; it is shown once all of its shards have landed.

CREATE SCHEMA records;

-- One bringing of a partition from the source. Of several for the same partition, the one that was completed last counts.
CREATE TABLE control.landings (
    landing_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    landing_id    text NOT NULL UNIQUE,                     -- the attempt that planned it
    dataset       text NOT NULL,
    partition_key date NOT NULL,
    shards_count  integer NOT NULL CHECK (shards_count > 0),
    opened_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What each shard of a landing brought: counts only.
CREATE TABLE control.shards (
    landing_no    bigint NOT NULL REFERENCES control.landings,
    shard_no      integer NOT NULL,
    source_counts jsonb NOT NULL,
    landed_counts jsonb NOT NULL,
    refused       jsonb NOT NULL,
    dropped       jsonb NOT NULL,
    landed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (landing_no, shard_no)
);

ALTER TABLE control.batches
    ADD COLUMN landing_no bigint REFERENCES control.landings,   -- the landing that is to be validated, or was last
    ADD COLUMN settled_no bigint REFERENCES control.landings;   -- the landing whose rows the vault shows

INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count, opened_at)
    SELECT pull_attempt, dataset, partition_key, 1, changed_at FROM control.batches ORDER BY changed_at;
UPDATE control.batches b SET landing_no = l.landing_no
    FROM control.landings l WHERE l.landing_id = b.pull_attempt AND l.dataset = b.dataset AND l.partition_key = b.partition_key;
UPDATE control.batches SET settled_no = landing_no WHERE state = 'settled';
-- A batch that has been landed again keeps in the vault what was settled before.
INSERT INTO control.landings (landing_id, dataset, partition_key, shards_count, opened_at)
    SELECT 'before ' || pull_attempt, dataset, partition_key, 1, changed_at FROM control.batches WHERE state = 'landed';
UPDATE control.batches b SET settled_no = l.landing_no
    FROM control.landings l WHERE b.state = 'landed' AND l.landing_id = 'before ' || b.pull_attempt;
ALTER TABLE control.batches ALTER COLUMN landing_no SET NOT NULL;

DROP FUNCTION landing.settle(text, date, text);

DO $$
DECLARE
    dataset text;
    name text;
    columns text;
BEGIN
    FOREACH name IN ARRAY ARRAY['bookings', 'booking_travellers', 'booking_services', 'payment_cards', 'page_views'] LOOP
        dataset := CASE name WHEN 'page_views' THEN 'visits' ELSE 'bookings' END;
        EXECUTE format('DROP VIEW IF EXISTS landing.%I', 'current_' || name);
        EXECUTE format('ALTER TABLE landing.%I SET SCHEMA records', name);
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
            FROM pg_attribute WHERE attrelid = format('records.%I', name)::regclass AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('ALTER TABLE records.%I ADD COLUMN landing_no bigint', name);
        EXECUTE format('UPDATE records.%I r SET landing_no = b.landing_no FROM control.batches b
                        WHERE b.dataset = %L AND b.partition_key = r.partition_key', name, dataset);
        EXECUTE format('INSERT INTO records.%1$I (%3$s, landing_no) OVERRIDING SYSTEM VALUE SELECT %4$s, b.settled_no
                        FROM vault.%1$I v LEFT JOIN control.batches b ON b.dataset = %2$L AND b.partition_key = v.partition_key',
                       name, dataset, columns, 'v.' || replace(columns, ', ', ', v.'));
        EXECUTE format('DROP TABLE vault.%I', name);
        EXECUTE format('DROP INDEX records.%I', name || '_partition_key_idx');
        EXECUTE format('CREATE INDEX ON records.%I (partition_key, landing_no)', name);
    END LOOP;
END $$;
CREATE INDEX ON records.bookings (row_key);
CREATE INDEX ON records.booking_travellers (root_key);
CREATE INDEX ON records.booking_services (root_key);

-- What pull refused belongs to its landing like a row that it let in.
ALTER TABLE quarantine.refusals SET SCHEMA records;
ALTER TABLE records.refusals ADD COLUMN landing_no bigint;
UPDATE records.refusals r SET landing_no = b.landing_no FROM control.batches b WHERE b.dataset = r.dataset AND b.partition_key = r.partition_key;

-- The landed tables of a dataset, the one whose rows are conserved first.
CREATE FUNCTION landing.tables(dataset text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE tables.dataset
        WHEN 'bookings' THEN RETURN ARRAY['bookings', 'booking_travellers', 'booking_services', 'payment_cards'];
        WHEN 'visits' THEN RETURN ARRAY['page_views'];
        ELSE RAISE EXCEPTION 'unknown dataset %', tables.dataset;
    END CASE;
END $$;

-- Counts by name, added up.
CREATE FUNCTION control.total(counts jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(name, total), '{}')
    FROM (SELECT name, sum(n::bigint) AS total FROM unnest(counts) c, jsonb_each_text(c) AS each (name, n) GROUP BY name) named
$$;

-- Called by each shard at the end of its transaction. The one that finds all of them landed shows the landing in place of the one before,
-- and deletes what earlier ones left, all but what the vault shows. `overtaken`: a later landing has been completed meanwhile.
CREATE FUNCTION landing.complete(landing_no bigint, run_id text)
RETURNS TABLE (outcome text, source_counts jsonb, landed_counts jsonb, refused jsonb, dropped jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    this control.landings;
    batch control.batches;
    name text;
BEGIN
    -- Shards that end at the same moment come here one after the other, so that the last one sees the others. Each holds the landing's
    -- key already, by the reference from its own row.
    SELECT l.* INTO STRICT this FROM control.landings l WHERE l.landing_no = complete.landing_no FOR NO KEY UPDATE;
    SELECT b.* INTO batch FROM control.batches b WHERE b.dataset = this.dataset AND b.partition_key = this.partition_key FOR NO KEY UPDATE;
    IF batch.landing_no > this.landing_no THEN
        RETURN QUERY SELECT 'overtaken', NULL::jsonb, NULL::jsonb, NULL::jsonb, NULL::jsonb;
        RETURN;
    END IF;
    IF (SELECT count(*) FROM control.shards s WHERE s.landing_no = this.landing_no) < this.shards_count THEN
        RETURN QUERY SELECT 'incomplete', NULL::jsonb, NULL::jsonb, NULL::jsonb, NULL::jsonb;
        RETURN;
    END IF;
    SELECT 'complete', control.total(array_agg(s.source_counts)), control.total(array_agg(s.landed_counts)),
           control.total(array_agg(s.refused)), control.total(array_agg(s.dropped))
    INTO outcome, source_counts, landed_counts, refused, dropped
    FROM control.shards s WHERE s.landing_no = this.landing_no;

    INSERT INTO control.batches AS b
        (dataset, partition_key, state, run_id, pull_attempt, source_counts, landed_counts, refused, dropped, landing_no)
    VALUES (this.dataset, this.partition_key, 'landed', complete.run_id, this.landing_id,
            source_counts, landed_counts, refused, dropped, this.landing_no)
    ON CONFLICT (dataset, partition_key) DO UPDATE SET
        state = 'landed',
        run_id = EXCLUDED.run_id,
        pull_attempt = EXCLUDED.pull_attempt,
        source_counts = EXCLUDED.source_counts,
        landed_counts = EXCLUDED.landed_counts,
        refused = EXCLUDED.refused,
        dropped = EXCLUDED.dropped,
        landing_no = EXCLUDED.landing_no,
        accepted = NULL,
        quarantined = NULL,
        changed_at = clock_timestamp();

    FOREACH name IN ARRAY landing.tables(this.dataset) LOOP
        EXECUTE format('DELETE FROM records.%I WHERE partition_key = $1 AND landing_no < $2 AND landing_no IS DISTINCT FROM $3', name)
        USING this.partition_key, this.landing_no, batch.settled_no;
        -- What has just been loaded is unknown to the planner, and a plan for an empty table takes minutes on a full one.
        EXECUTE format('ANALYZE records.%I', name);
    END LOOP;
    DELETE FROM records.refusals r
    WHERE r.dataset = this.dataset AND r.partition_key = this.partition_key AND r.landing_no < this.landing_no;
    DELETE FROM control.shards s USING control.landings l
    WHERE l.landing_no = s.landing_no AND l.dataset = this.dataset AND l.partition_key = this.partition_key AND l.landing_no < this.landing_no;
    RETURN NEXT;
END $$;

-- Settle the landing of a batch: what failed, and what belongs to it, is deleted and noted in quarantine; the rest is in the vault from now
-- on, in place of what it showed before. The validator may call this, it cannot read the columns.
CREATE FUNCTION landing.settle(dataset text, partition_key date, run_id text)
RETURNS TABLE (table_name text, accepted bigint, quarantined bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    names text[] := landing.tables(settle.dataset);
    root text := names[1];
    name text;
    current_no bigint;
    earlier_no bigint;
    landed bigint;
    failed bigint;
BEGIN
    SELECT b.landing_no, b.settled_no INTO STRICT current_no, earlier_no
    FROM control.batches b WHERE b.dataset = settle.dataset AND b.partition_key = settle.partition_key FOR NO KEY UPDATE;

    -- A batch that is settled again replaces what it left before.
    DELETE FROM quarantine.rows r WHERE r.dataset = settle.dataset AND r.partition_key = settle.partition_key;

    -- What validation has just written is unknown to the planner, and a plan for empty tables takes minutes on full ones.
    ANALYZE quarantine.findings;

    -- A finding in a row or in anything that belongs to it quarantines the root row.
    EXECUTE format($q$
        INSERT INTO quarantine.rows (dataset, partition_key, row_id, row_key, rules, clauses, run_id)
        SELECT $1, $2, hit.row_id, hit.row_key, array_agg(DISTINCT hit.rule ORDER BY hit.rule), array_agg(DISTINCT hit.clause ORDER BY hit.clause), $3
        FROM (
            SELECT l.row_id, l.row_key, f.rule, f.clause
            FROM quarantine.findings f JOIN records.%1$I l ON l.row_id = f.row_id AND l.partition_key = $2 AND l.landing_no = $4
            WHERE f.dataset = $1 AND f.partition_key = $2 AND f.table_name = %1$L
            UNION ALL
            SELECT l.row_id, l.row_key, f.rule, f.clause
            FROM quarantine.findings f JOIN records.%1$I l ON l.row_key = f.root_key AND l.partition_key = $2 AND l.landing_no = $4
            WHERE f.dataset = $1 AND f.partition_key = $2 AND f.table_name <> %1$L
        ) hit
        GROUP BY hit.row_id, hit.row_key $q$, root)
    USING settle.dataset, settle.partition_key, settle.run_id, current_no;
    ANALYZE quarantine.rows;

    FOREACH name IN ARRAY names LOOP
        EXECUTE format('SELECT count(*) FROM records.%I WHERE partition_key = $1 AND landing_no = $2', name)
        INTO landed USING settle.partition_key, current_no;
        IF name = root THEN
            EXECUTE format($q$
                DELETE FROM records.%I l USING quarantine.rows r
                WHERE l.partition_key = $1 AND l.landing_no = $2
                  AND r.dataset = $3 AND r.partition_key = $1 AND r.row_id = l.row_id $q$, name)
            USING settle.partition_key, current_no, settle.dataset;
        ELSE
            -- What belongs to a quarantined root row is not kept: quarantine is minimised. A child without a root row in the batch
            -- (a card captured on a day without a booking version) stands for itself.
            EXECUTE format($q$
                DELETE FROM records.%1$I l
                WHERE l.partition_key = $1 AND l.landing_no = $2
                  AND (EXISTS (SELECT FROM quarantine.rows r WHERE r.dataset = $3 AND r.partition_key = $1 AND r.row_key = l.root_key)
                       OR EXISTS (SELECT FROM quarantine.findings f WHERE f.dataset = $3 AND f.partition_key = $1
                                  AND f.table_name = %1$L AND f.row_id = l.row_id)) $q$, name)
            USING settle.partition_key, current_no, settle.dataset;
        END IF;
        GET DIAGNOSTICS failed = ROW_COUNT;
        IF earlier_no <> current_no THEN
            EXECUTE format('DELETE FROM records.%I WHERE partition_key = $1 AND landing_no = $2', name)
            USING settle.partition_key, earlier_no;
        END IF;
        RETURN QUERY SELECT name, landed - failed, failed;
    END LOOP;
END $$;

-- Of millions of views nobody asks for one by its key alone.
DROP INDEX vault.release_ledger_dataset_row_key_idx;
CREATE INDEX release_ledger_booking ON vault.release_ledger (row_key) WHERE dataset = 'bookings';
