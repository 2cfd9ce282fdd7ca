-- The key store in a PostgreSQL of its own; the same tables as schema_sqlite.sql.
CREATE SCHEMA keys;
REVOKE ALL ON SCHEMA keys FROM PUBLIC;
CREATE TABLE keys.store (
    one             integer PRIMARY KEY CHECK (one = 1),
    format          text NOT NULL,
    store_id        bytea NOT NULL,
    current_version integer NOT NULL,
    writer          bigint NOT NULL
);
CREATE TABLE keys.wrapping_keys (
    version     integer PRIMARY KEY,
    check_value bytea NOT NULL
);
CREATE TABLE keys.data_keys (
    id           bytea PRIMARY KEY,
    kind         text NOT NULL,
    scope        text,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    version      integer NOT NULL,
    wrapped      bytea,
    destroyed_at bigint,
    destroyed_by text,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL) AND (wrapped IS NULL) = (destroyed_by IS NOT NULL))
);
CREATE INDEX data_keys_due ON keys.data_keys (expires_at) WHERE wrapped IS NOT NULL AND expires_at IS NOT NULL;
CREATE INDEX data_keys_destroyed ON keys.data_keys (destroyed_by) WHERE destroyed_by IS NOT NULL;
CREATE TABLE keys.destructions (
    attempt_id   text PRIMARY KEY,
    reason       text NOT NULL,
    destroyed_at bigint NOT NULL,
    is_recorded  integer NOT NULL DEFAULT 0
);
CREATE FUNCTION keys.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.wrapped IS NOT NULL
       AND (NEW.id, NEW.kind, NEW.scope, NEW.created_at, NEW.expires_at)
           IS NOT DISTINCT FROM (OLD.id, OLD.kind, OLD.scope, OLD.created_at, OLD.expires_at)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a key stays what it is, its deadline too, and a destroyed one stays destroyed';
END $$;
CREATE TRIGGER data_keys_final BEFORE UPDATE OR DELETE ON keys.data_keys
    FOR EACH ROW EXECUTE FUNCTION keys.refuse_change();
CREATE TRIGGER data_keys_kept BEFORE TRUNCATE ON keys.data_keys
    FOR EACH STATEMENT EXECUTE FUNCTION keys.refuse_change();
