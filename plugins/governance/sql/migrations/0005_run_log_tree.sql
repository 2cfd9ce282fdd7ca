-- The run log as a Merkle tree (RFC 6962). An entry is appended unordered, in the transaction of its effect; the sequencer gives it its
-- place as a leaf afterwards. What is a leaf, is append-only like the entry itself.

-- Every connection to this database, noted by an event trigger at login (made by the cluster's superuser, who alone can make one).
CREATE TABLE audit.sessions (
    session_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process_id       integer NOT NULL,
    database_login   name NOT NULL,
    application_name text NOT NULL,
    opened_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON audit.sessions (process_id, session_no);
COMMENT ON TABLE audit.sessions IS 'One row per connection to this database: connections are reconciled with entries of the run log, and one that could read without an entry is an alarm.';
COMMENT ON COLUMN audit.sessions.session_no IS 'Number of the connection; database_session of the entries that it appended.';
COMMENT ON COLUMN audit.sessions.process_id IS 'Process of the server that served it.';
COMMENT ON COLUMN audit.sessions.database_login IS 'Role that logged in.';
COMMENT ON COLUMN audit.sessions.application_name IS 'What the client called itself: for a connection that was lent, the attempt_id of the entry that opened it.';
COMMENT ON COLUMN audit.sessions.opened_at IS 'Instant of the login (UTC).';

ALTER TABLE audit.run_log ALTER COLUMN database_role DROP DEFAULT, ALTER COLUMN written_at DROP DEFAULT;
ALTER TABLE audit.run_log DROP COLUMN entry_sha256; -- the hash of its leaf says more
ALTER TABLE audit.run_log ADD COLUMN database_login name, ADD COLUMN database_session bigint;
COMMENT ON COLUMN audit.run_log.database_role IS 'Role that had been taken when the entry was appended.';
COMMENT ON COLUMN audit.run_log.database_login IS 'Role that had logged in; NULL in entries from before logins were told from roles.';
COMMENT ON COLUMN audit.run_log.database_session IS 'The connection that appended it (audit.sessions); NULL where logins are not noted.';

-- Entries that have no place in the tree yet.
CREATE TABLE audit.pending (
    written_at timestamptz NOT NULL,
    entry_id   uuid NOT NULL,
    PRIMARY KEY (written_at, entry_id)
);
INSERT INTO audit.pending SELECT written_at, entry_id FROM audit.run_log;
COMMENT ON TABLE audit.pending IS 'Entries that the sequencer has not given a place in the tree yet; one that stays beyond the merge delay is an alarm.';

CREATE TABLE audit.leaves (
    leaf_index bigint PRIMARY KEY CHECK (leaf_index >= 0),
    entry_id   uuid NOT NULL UNIQUE
);
COMMENT ON TABLE audit.leaves IS 'The order of the run log: which entry is which leaf of the tree.';
COMMENT ON COLUMN audit.leaves.leaf_index IS 'Place in the tree, from 0.';
COMMENT ON COLUMN audit.leaves.entry_id IS 'The entry.';

CREATE TABLE audit.tiles (
    level  smallint NOT NULL,
    number bigint NOT NULL,
    hashes bytea STORAGE EXTERNAL NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, number)
);
COMMENT ON TABLE audit.tiles IS 'Hashes of the tree, 256 in a tile (c2sp.org/tlog-tiles): level 0 those of leaves, level 1 roots of 256 leaves ...';

CREATE TABLE audit.checkpoints (
    size      bigint PRIMARY KEY,
    note      text NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE audit.checkpoints IS 'Signed heads of the tree (c2sp.org/tlog-checkpoint). Believe those that you pulled and kept yourself, not these.';
COMMENT ON COLUMN audit.checkpoints.size IS 'How many leaves the tree had.';
COMMENT ON COLUMN audit.checkpoints.note IS 'The signed note.';
COMMENT ON COLUMN audit.checkpoints.signed_at IS 'Instant of signing (UTC).';

-- What the digests in entries are digests of: every version of policy and suites that was ever used.
CREATE TABLE audit.texts (
    sha256      text PRIMARY KEY CHECK (sha256 = encode(pg_catalog.sha256(convert_to(content, 'UTF8')), 'hex')),
    name        text NOT NULL,
    content     text NOT NULL,
    first_used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE audit.texts IS 'Texts behind the digests of entries. The text of a policy is a list of its files (sha256sum), each of which is a text here too.';
COMMENT ON COLUMN audit.texts.sha256 IS 'SHA-256 of the content, as entries name it.';
COMMENT ON COLUMN audit.texts.name IS 'What it is: policy, suite bookings, policies/bookings.yaml ...';
COMMENT ON COLUMN audit.texts.content IS 'The text.';
COMMENT ON COLUMN audit.texts.first_used_at IS 'Instant at which it was first used (UTC).';

-- The bytes of a leaf, canonical JSON (RFC 8785): the entry, and what the database itself knows of it. Without a setting of its own, so
-- that the planner can put it in place.
CREATE FUNCTION audit.leaf(r audit.run_log) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT '{"database_login":' || coalesce(pg_catalog.to_json(r.database_login::text)::text, 'null')
        || ',"database_role":' || pg_catalog.to_json(r.database_role::text)::text
        || ',"database_session":' || coalesce(r.database_session::text, 'null')
        || ',"entry":' || r.entry
        || ',"written_at":"' || pg_catalog.to_char(r.written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}'
$$;

CREATE OR REPLACE FUNCTION audit.append(entry text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parsed jsonb := entry::jsonb;
    id uuid := (parsed ->> 'entry_id')::uuid;
    at timestamptz := clock_timestamp();
BEGIN
    IF parsed ->> 'format' IS DISTINCT FROM 'wellbe-run-log/1'
       OR id IS NULL OR parsed ->> 'event' IS NULL OR parsed ->> 'attempt_id' IS NULL
       OR parsed ->> 'phase' NOT IN ('intent', 'outcome')
       OR (parsed ->> 'phase' = 'outcome') <> (parsed ->> 'outcome' IS NOT NULL)
    THEN
        RAISE EXCEPTION 'not a run-log entry: format, entry_id, event, attempt_id, phase and outcome are required';
    END IF;
    INSERT INTO audit.run_log (entry_id, written_at, database_role, database_login, database_session, entry)
    VALUES (id, at,
            -- Inside a SECURITY DEFINER function current_user is its owner; the setting still names the role that was taken.
            coalesce(nullif(current_setting('role'), 'none'), session_user), session_user,
            (SELECT max(session_no) FROM audit.sessions WHERE process_id = pg_backend_pid()),
            append.entry);
    INSERT INTO audit.pending VALUES (at, id);
    RETURN id;
END $$;

CREATE FUNCTION audit.keep_text(name text, content text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO audit.texts (sha256, name, content)
    VALUES (encode(pg_catalog.sha256(convert_to(content, 'UTF8')), 'hex'), name, content)
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION audit.missing_texts(digests text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d FROM unnest(digests) AS d WHERE NOT EXISTS (SELECT FROM audit.texts t WHERE t.sha256 = d)
$$;

CREATE OR REPLACE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit.% is append-only: % refused', TG_TABLE_NAME, TG_OP;
END $$;
CREATE TRIGGER leaves_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.leaves
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER texts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.texts
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER sessions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.sessions
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
