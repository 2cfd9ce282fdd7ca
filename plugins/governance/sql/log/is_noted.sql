-- Whether the connection that asks was noted when it was opened.
SELECT EXISTS (
    SELECT FROM audit.sessions s JOIN pg_stat_activity a ON a.pid = s.process_id
    WHERE s.process_id = pg_backend_pid() AND s.opened_at >= a.backend_start)
