-- Whether the connection that asks was noted when it was opened, and nothing stands between a login and its row.
SELECT EXISTS (
        SELECT FROM audit.sessions s JOIN pg_stat_activity a ON a.pid = s.process_id
        WHERE s.process_id = pg_backend_pid() AND s.opened_at >= a.backend_start)
   AND (SELECT array_agg(tgname::text || ' ' || tgenabled::text) FROM pg_trigger WHERE tgrelid = 'audit.sessions'::regclass AND NOT tgisinternal)
       = ARRAY['sessions_append_only O']
   AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = 'audit.sessions'::regclass)
