-- Numbers of connections that are missing among those that were noted since an instant. A crash of the server may leave out some too: none
-- are counted where the server was started since.
SELECT CASE WHEN pg_postmaster_start_time() < %(since)s THEN coalesce(max(session_no) - min(session_no) + 1 - count(*), 0) ELSE 0 END
FROM audit.sessions
WHERE opened_at BETWEEN %(since)s AND %(until)s
