-- F1 N1: what went to which recipient: by which contract, on which basis, how many rows of which fields, to whose certificate, when consents were
-- read, and what was left out. A delivery that was broken off is told by what the next try found in the outbox.
SELECT left(entry::jsonb ->> 'at', 16) AS at,
       event,
       entry::jsonb #>> '{details,recipient}' AS recipient,
       left(entry::jsonb #>> '{details,delivery}', 12) AS delivery,
       entry::jsonb #>> '{details,kind}' AS kind,
       entry::jsonb #>> '{details,contract}' AS contract,
       entry::jsonb #>> '{details,lawful_basis}' AS lawful_basis,
       (entry::jsonb #>> '{counts,rows}')::integer AS rows_count,
       entry::jsonb #>> '{details,fields}' AS fields,
       left(entry::jsonb #>> '{details,certificate_fingerprint}', 12) AS certificate,
       left(entry::jsonb #>> '{details,manifest_sha256}', 12) AS manifest,
       left(entry::jsonb #>> '{details,read_at}', 16) AS read_at,
       entry::jsonb #>> '{details,state}' AS state,
       outcome,
       entry::jsonb #>> '{details,halted_by}' AS halted_by
FROM audit.run_log
WHERE phase = 'outcome' AND (event IN ('deliver', 'settle_delivery', 'acknowledge') OR (event = 'share' AND outcome = 'failed'))
ORDER BY written_at DESC;
