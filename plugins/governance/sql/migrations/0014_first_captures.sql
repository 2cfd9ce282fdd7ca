-- Since when each card is known to have been captured, whatever a later row of it says: an update of the row resets no clock (K1). Ids and
-- instants, longer than the cards themselves; a rule of retention ends them.
CREATE TABLE control.first_captures (
    card_key     text PRIMARY KEY,                                -- the card's id at the source
    captured_at  timestamptz NOT NULL,                            -- the earliest instant that ever came with it
    is_at_source boolean NOT NULL DEFAULT true,                   -- until retention has ended it there
    met_at       timestamptz NOT NULL DEFAULT clock_timestamp()   -- when pull met it last
);
CREATE INDEX ON control.first_captures (met_at);
CREATE INDEX ON control.first_captures (captured_at) WHERE is_at_source;

-- Note instants that came with cards. What was brought, or saved, before an earlier one was known counts from that one, too. Keys in their
-- order, so that two pulls which meet the same cards wait for each other and do not block each other.
CREATE FUNCTION landing.note_captures(keys text[], instants timestamptz[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO control.first_captures AS known (card_key, captured_at)
        SELECT met.card_key, min(met.captured_at) FROM unnest(keys, instants) AS met (card_key, captured_at)
        GROUP BY met.card_key ORDER BY met.card_key
    ON CONFLICT (card_key) DO UPDATE
        SET captured_at = least(known.captured_at, EXCLUDED.captured_at), is_at_source = true, met_at = clock_timestamp();
    UPDATE records.payment_cards card SET captured_at = known.captured_at FROM control.first_captures known
        WHERE known.card_key = ANY (keys) AND card.row_key = known.card_key AND card.captured_at > known.captured_at;
    UPDATE vault.saved_cards card SET captured_at = known.captured_at FROM control.first_captures known
        WHERE known.card_key = ANY (keys) AND card.card_key = known.card_key AND card.captured_at > known.captured_at;
END $$;

-- No card comes to the records without it.
CREATE FUNCTION landing.note_landed_captures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM landing.note_captures(array_agg(row_key), array_agg(captured_at)) FROM fresh
        WHERE row_key IS NOT NULL AND captured_at IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER note_landed_captures AFTER INSERT ON records.payment_cards REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION landing.note_landed_captures();

SELECT landing.note_captures(array_agg(card_key), array_agg(captured_at))
FROM (
    SELECT row_key, captured_at FROM records.payment_cards UNION ALL SELECT card_key, captured_at FROM vault.saved_cards
) there (card_key, captured_at)
WHERE card_key IS NOT NULL AND captured_at IS NOT NULL;
