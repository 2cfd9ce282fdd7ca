-- J1: which database role had which effect, on whose behalf. Each hop has a role of its own that reaches its zones and no other.
SELECT database_role,
       event,
       dataset,
       entry::jsonb #>> '{run,trigger}' AS "trigger",
       coalesce(entry::jsonb #>> '{run,triggered_by}', '') AS triggered_by,
       count(*) AS times,
       to_char(min(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS first_utc,
       to_char(max(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS last_utc
FROM audit.run_log
WHERE phase = 'outcome' AND outcome <> 'failed' AND event IN ('pull', 'validate', 'publish')
GROUP BY 1, 2, 3, 4, 5
ORDER BY 2, 1, 3, 4, 5;
