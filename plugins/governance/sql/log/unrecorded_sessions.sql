-- Connections of logins that can read landing, vault or quarantine, or take a role that can, that do not belong to an entry. A connection
-- belongs to the entry that it names, when that one was open, and not for longer than a try may last; what migrates the database to the
-- entry that it appended itself. That something was appended is no leave for anybody else. Those of the last minutes may still come to it.
WITH readers AS (
    SELECT login.rolname
    FROM pg_roles login
    WHERE login.rolsuper OR EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN pg_roles taken
        WHERE n.nspname IN ('records', 'landing', 'vault', 'quarantine') AND c.relkind IN ('r', 'v', 'p')
          AND NOT taken.rolsuper AND pg_has_role(login.oid, taken.oid, 'MEMBER')
          AND has_any_column_privilege(taken.oid, c.oid, 'SELECT'))
)
SELECT s.session_no, s.database_login, s.opened_at
FROM audit.sessions s
WHERE s.database_login IN (SELECT rolname FROM readers)
  AND s.opened_at BETWEEN %(since)s AND %(until)s
  AND NOT (s.database_login = 'migrator'
           AND EXISTS (SELECT FROM audit.run_log r WHERE r.database_session = s.session_no AND r.event IN ('migrate', 'reencrypt')))
  AND NOT EXISTS (
        SELECT FROM audit.run_log opened
        WHERE opened.attempt_id = s.application_name AND opened.phase = 'intent'
          AND opened.event IN ('read', 'pull', 'validate', 'publish', 'crawl', 'provision', 'note_logins', 'backup', 'reencrypt')
          AND opened.written_at BETWEEN s.opened_at - interval '3 hours' AND s.opened_at
          AND NOT EXISTS (SELECT FROM audit.run_log closed
                          WHERE closed.attempt_id = opened.attempt_id AND closed.phase = 'outcome' AND closed.written_at < s.opened_at))
ORDER BY s.session_no
