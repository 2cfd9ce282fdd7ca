-- Booking events are counted with noise beside the rows, which miss most amendments and cancellations (E1). analytics_views.py shows the rows of
-- each table as a view.
DO $$
DECLARE
    name text;
    by_column text;
BEGIN
    FOR name, by_column IN VALUES ('bookings_events_rows', 'service_specialty'), ('bookings_events_origins_rows', 'origin_continent') LOOP
        EXECUTE format('CREATE TABLE analytics.%I (recorded_date date NOT NULL, booking_event text NOT NULL, %I text NOT NULL, '
                       'bookings_count bigint NOT NULL, bookings_low bigint NOT NULL, bookings_high bigint NOT NULL, '
                       'PRIMARY KEY (recorded_date, booking_event, %2$I))', name, by_column);
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON analytics.%I REFERENCING NEW TABLE AS fresh '
                       'FOR EACH STATEMENT EXECUTE FUNCTION analytics.require_budget()', name || '_require_budget', name);
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON analytics.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION analytics.refuse_change()', name || '_append_only', name);
    END LOOP;
END $$;
COMMENT ON COLUMN analytics.releases.dataset IS 'bookings (tables analytics.bookings and analytics.bookings_events...) or visits (tables analytics.visits_... and analytics.inquiries_funnel).';
COMMENT ON COLUMN analytics.privacy_budget.protects IS 'Whom the noise hides: one visitor, as told apart within one day, one client in the inquiries of one day, or one client in the bookings of one day.';
