-- R1: signed heads of the run log, the newest first. Compare them with those that you pulled yourself.
SELECT split_part(note, E'\n', 1) AS origin,
       size AS entries,
       split_part(note, E'\n', 3) AS root,
       to_char(signed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS signed_utc
FROM audit.checkpoints
ORDER BY signed_at DESC, size DESC
LIMIT 24;
