-- What is appended to the run log is read by programs of others: one form alone, and the signs of life from one login.
CREATE OR REPLACE FUNCTION audit.append(entry text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parsed jsonb := entry::jsonb;
    id uuid := (parsed ->> 'entry_id')::uuid;
    at timestamptz := clock_timestamp();
    speaker name;
BEGIN
    IF parsed ->> 'format' IS DISTINCT FROM 'wellbe-run-log/1'
       OR id IS NULL OR parsed ->> 'event' IS NULL OR parsed ->> 'attempt_id' IS NULL
       OR coalesce(parsed ->> 'phase', '') NOT IN ('intent', 'outcome')
       OR (parsed ->> 'phase' = 'outcome') <> (parsed ->> 'outcome' IS NOT NULL)
    THEN
        RAISE EXCEPTION 'not a run-log entry: format, entry_id, event, attempt_id, phase and outcome are required';
    END IF;
    -- A line of an export is an entry: whatever reads it must find the same in it.
    IF octet_length(entry) > 8388608 OR entry ~ '[\x01-\x1f]' OR entry IS NOT JSON OBJECT WITH UNIQUE KEYS
       OR regexp_replace(entry, '"([^"\\]|\\.)*"', '', 'g') ~ '\s'
    THEN
        RAISE EXCEPTION 'not a run-log entry: canonical JSON (RFC 8785) of at most 8 MiB is required';
    END IF;
    -- Whoever reads the log later relies on these.
    IF jsonb_typeof(parsed -> 'dataset') <> 'string' OR jsonb_typeof(parsed -> 'partition_key') <> 'string'
       OR coalesce(parsed ->> 'at', '') !~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$'
       OR jsonb_typeof(parsed -> 'run') <> 'object'
       OR NOT parsed -> 'run' ?& ARRAY['dag_id', 'run_id', 'task_id', 'try_number', 'trigger', 'triggered_by']
       OR jsonb_typeof(parsed -> 'digests') <> 'object' OR NOT parsed -> 'digests' ?& ARRAY['policy', 'suite', 'code']
       OR jsonb_typeof(parsed -> 'clauses') <> 'array' OR jsonb_typeof(parsed -> 'alarms') <> 'array'
       OR jsonb_typeof(parsed -> 'counts') <> 'object'
       OR jsonb_path_exists(parsed, '$.counts.* ? (@.type() != "number")')
       OR NOT parsed ?& ARRAY['dataset', 'partition_key', 'at', 'run', 'digests', 'clauses', 'alarms', 'counts', 'error']
       OR (parsed ->> 'event' = 'read' AND (jsonb_typeof(parsed -> 'reading') IS DISTINCT FROM 'object'
           OR NOT parsed -> 'reading' ?& ARRAY['role', 'purpose', 'columns', 'of']))
       OR (parsed ? 'keys' AND (jsonb_typeof(parsed -> 'keys') <> 'array'
           OR jsonb_path_exists(parsed, '$.keys[*] ? (!(@ like_regex "^[0-9a-f]{32}$"))')))
    THEN
        RAISE EXCEPTION 'not a run-log entry: a field is missing, or is not of its kind';
    END IF;
    -- Some events are believed: signs of life, signing keys, and which keys are gone. Each is said by one login alone; that such an
    -- attempt failed or was interrupted may be told by others.
    speaker := CASE
        WHEN parsed ->> 'event' IN ('heartbeat', 'rotate_signing_key', 'acknowledge_restore', 'reconcile', 'airflow_action', 'alarm')
            THEN 'sequencer'
        WHEN parsed ->> 'event' IN ('keep_keys', 'destroy_keys', 'rotate_key')
             AND coalesce(parsed ->> 'outcome', 'none') NOT IN ('failed', 'interrupted', 'skipped', 'replayed')
            THEN 'custodian'
        ELSE session_user
    END;
    IF session_user <> speaker THEN
        RAISE EXCEPTION 'not a run-log entry of %: only % appends this event', session_user, speaker;
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
