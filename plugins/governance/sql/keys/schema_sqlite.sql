-- The key store as one SQLite file. Secrets are wrapped; whom a key is for is said only where that names no person.
CREATE TABLE store (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    format          TEXT NOT NULL,
    store_id        BLOB NOT NULL,
    current_version INTEGER NOT NULL, -- of the key-encryption key that wraps new keys
    writer          INTEGER NOT NULL  -- the last one handed out: the first half of nonces
);;
CREATE TABLE wrapping_keys (
    version     INTEGER PRIMARY KEY,
    check_value BLOB NOT NULL
);;
CREATE TABLE data_keys (
    id           BLOB PRIMARY KEY,
    kind         TEXT NOT NULL,
    scope        TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    version      INTEGER NOT NULL,
    wrapped      BLOB,
    destroyed_at INTEGER,
    destroyed_by TEXT,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL) AND (wrapped IS NULL) = (destroyed_by IS NOT NULL))
) WITHOUT ROWID;;
CREATE INDEX data_keys_due ON data_keys (expires_at) WHERE wrapped IS NOT NULL AND expires_at IS NOT NULL;;
CREATE INDEX data_keys_destroyed ON data_keys (destroyed_by) WHERE destroyed_by IS NOT NULL;;
CREATE TABLE destructions (
    attempt_id   TEXT PRIMARY KEY,
    reason       TEXT NOT NULL,
    destroyed_at INTEGER NOT NULL,
    is_recorded  INTEGER NOT NULL DEFAULT 0 -- whether the run log has it
);;
CREATE TRIGGER data_keys_final BEFORE UPDATE ON data_keys
WHEN OLD.wrapped IS NULL OR NEW.id IS NOT OLD.id OR NEW.kind IS NOT OLD.kind OR NEW.scope IS NOT OLD.scope
    OR NEW.created_at IS NOT OLD.created_at OR NEW.expires_at IS NOT OLD.expires_at
BEGIN
    SELECT RAISE(ABORT, 'a key stays what it is, its deadline too, and a destroyed one stays destroyed');
END;;
CREATE TRIGGER data_keys_first BEFORE INSERT ON data_keys
WHEN EXISTS (SELECT 1 FROM data_keys WHERE id = NEW.id)
BEGIN
    SELECT RAISE(IGNORE); -- whoever came first stays; INSERT OR REPLACE would delete without the next trigger
END;;
CREATE TRIGGER data_keys_kept BEFORE DELETE ON data_keys
BEGIN
    SELECT RAISE(ABORT, 'a key is destroyed, never deleted: what is left of it says that it is gone');
END
