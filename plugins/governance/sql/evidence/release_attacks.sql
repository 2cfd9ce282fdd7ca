-- E1: every attack on all that was released of a dataset, with what it found, and whether that was over a limit of policy.
SELECT left(entry::jsonb ->> 'at', 16) AS at,
       dataset,
       outcome,
       (entry::jsonb #>> '{measures,releases}')::integer AS releases,
       (entry::jsonb #>> '{measures,people}')::integer AS people,
       (entry::jsonb #>> '{measures,short_classes}')::integer AS short_classes,
       (entry::jsonb #>> '{measures,gained_less}')::integer AS gained_less,
       (entry::jsonb #>> '{measures,fewer_left}')::integer AS fewer_left,
       (entry::jsonb #>> '{measures,disclosed}')::integer AS disclosed,
       entry::jsonb #>> '{measures,linkability}' AS linkability,
       entry::jsonb #>> '{measures,inference_majority}' AS inference,
       coalesce(entry::jsonb #>> '{error,type}', '') AS alarm
FROM audit.run_log
WHERE event = 'attack_releases' AND phase = 'outcome'
ORDER BY written_at DESC;
