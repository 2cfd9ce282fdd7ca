-- F1: to which certificate of which recipient was encrypted from when on, and which one was revoked why; also what was refused.
SELECT left(entry::jsonb ->> 'at', 16) AS at,
       partition_key AS recipient,
       event,
       outcome,
       left(entry::jsonb #>> '{details,fingerprint}', 12) AS fingerprint,
       left(entry::jsonb #>> '{details,before}', 12) AS before,
       left(entry::jsonb #>> '{details,not_after}', 10) AS valid_until,
       coalesce(entry::jsonb #>> '{details,demo}', 'no') AS is_demo,
       entry::jsonb ->> 'reason' AS reason,
       entry::jsonb #>> '{error,type}' AS refused_with
FROM audit.run_log
WHERE event IN ('add_certificate', 'rotate_certificate', 'revoke_certificate') AND phase = 'outcome'
ORDER BY written_at DESC;
