-- J1, K1, M1: keys that were destroyed, by kind and reason.
SELECT replace(counted.key, 'destroyed ', '') AS kind,
       entry::jsonb ->> 'reason' AS reason,
       sum(counted.value::bigint) AS keys,
       to_char(min(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS first_utc,
       to_char(max(written_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS last_utc
FROM audit.run_log, jsonb_each_text(entry::jsonb -> 'counts') AS counted
WHERE event = 'destroy_keys' AND outcome = 'passed' AND counted.key LIKE 'destroyed %'
GROUP BY 1, 2
ORDER BY 1, 2;
