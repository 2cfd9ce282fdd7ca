-- Validation reads measured facts through one view per landed table, bound to one partition by a session setting, so that
-- Great Expectations sees exactly the batch and its queries of failing rows can be run again as they are. Settlement moves rows without
-- giving the validator sight of them: it may call the function, it cannot read the columns.

CREATE FUNCTION landing.settle(dataset text, partition_key date, run_id text)
RETURNS TABLE (table_name text, accepted bigint, quarantined bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    root text;
    children text[];
    child text;
    moved bigint;
    kept bigint;
BEGIN
    CASE settle.dataset
        WHEN 'bookings' THEN root := 'bookings'; children := ARRAY['booking_travellers', 'booking_services', 'payment_cards'];
        WHEN 'visits' THEN root := 'page_views'; children := ARRAY[]::text[];
        ELSE RAISE EXCEPTION 'settle: unknown dataset %', settle.dataset;
    END CASE;

    -- A batch that is settled again replaces what it left before.
    DELETE FROM quarantine.rows r WHERE r.dataset = settle.dataset AND r.partition_key = settle.partition_key;
    FOREACH child IN ARRAY children || root LOOP
        EXECUTE format('DELETE FROM vault.%I WHERE partition_key = $1', child) USING settle.partition_key;
    END LOOP;

    -- What validation has just written is unknown to the planner, and a plan for empty tables takes minutes on full ones.
    ANALYZE quarantine.findings;

    -- A finding in a row or in anything that belongs to it quarantines the root row.
    EXECUTE format($q$
        INSERT INTO quarantine.rows (dataset, partition_key, row_id, row_key, rules, clauses, run_id)
        SELECT $1, $2, hit.row_id, hit.row_key, array_agg(DISTINCT hit.rule ORDER BY hit.rule), array_agg(DISTINCT hit.clause ORDER BY hit.clause), $3
        FROM (
            SELECT l.row_id, l.row_key, f.rule, f.clause
            FROM quarantine.findings f JOIN landing.%I l ON l.row_id = f.row_id AND l.partition_key = $2
            WHERE f.dataset = $1 AND f.partition_key = $2 AND f.table_name = %L
            UNION ALL
            SELECT l.row_id, l.row_key, f.rule, f.clause
            FROM quarantine.findings f JOIN landing.%I l ON l.row_key = f.root_key AND l.partition_key = $2
            WHERE f.dataset = $1 AND f.partition_key = $2 AND f.table_name <> %L
        ) hit
        GROUP BY hit.row_id, hit.row_key $q$, root, root, root, root)
    USING settle.dataset, settle.partition_key, settle.run_id;
    ANALYZE quarantine.rows;

    EXECUTE format($q$
        INSERT INTO vault.%I SELECT l.* FROM landing.%I l
        WHERE l.partition_key = $1
          AND NOT EXISTS (SELECT FROM quarantine.rows r WHERE r.dataset = $2 AND r.partition_key = $1 AND r.row_id = l.row_id) $q$, root, root)
    USING settle.partition_key, settle.dataset;
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('DELETE FROM landing.%I WHERE partition_key = $1', root) USING settle.partition_key;
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN QUERY SELECT root, moved, kept - moved;

    -- What belongs to a quarantined root row is not kept: quarantine is minimised. A child without a root row in the batch
    -- (a card captured on a day without a booking version) stands for itself.
    FOREACH child IN ARRAY children LOOP
        EXECUTE format($q$
            INSERT INTO vault.%I SELECT l.* FROM landing.%I l
            WHERE l.partition_key = $1
              AND NOT EXISTS (SELECT FROM quarantine.rows r WHERE r.dataset = $2 AND r.partition_key = $1 AND r.row_key = l.root_key)
              AND NOT EXISTS (SELECT FROM quarantine.findings f WHERE f.dataset = $2 AND f.partition_key = $1
                              AND f.table_name = %L AND f.row_id = l.row_id) $q$, child, child, child)
        USING settle.partition_key, settle.dataset;
        GET DIAGNOSTICS moved = ROW_COUNT;
        EXECUTE format('DELETE FROM landing.%I WHERE partition_key = $1', child) USING settle.partition_key;
        GET DIAGNOSTICS kept = ROW_COUNT;
        RETURN QUERY SELECT child, moved, kept - moved;
    END LOOP;
    FOREACH child IN ARRAY children || root LOOP
        EXECUTE format('ANALYZE vault.%I', child);
    END LOOP;
END $$;
