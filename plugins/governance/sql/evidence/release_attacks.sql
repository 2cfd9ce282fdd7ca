-- E1: every attack on releases and what it found: on that of a day before it was published, and (partition all) on everything that was released.
SELECT left(entry::jsonb ->> 'at', 16) AS at,
       dataset,
       partition_key,
       outcome,
       (entry::jsonb #>> '{measures,releases}')::integer AS releases,
       (entry::jsonb #>> '{measures,short_classes}')::integer AS short_classes,
       coalesce(entry::jsonb #>> '{measures,gained_less}', entry::jsonb #>> '{measures,attack_gained_less}')::integer AS gained_less,
       coalesce(entry::jsonb #>> '{measures,fewer_left}', entry::jsonb #>> '{measures,attack_fewer_left}')::integer AS fewer_left,
       coalesce(entry::jsonb #>> '{measures,disclosed}', entry::jsonb #>> '{measures,attack_disclosed}')::integer AS disclosed,
       entry::jsonb #>> '{measures,linkability}' AS linkability,
       entry::jsonb #>> '{measures,inference_majority}' AS inference,
       coalesce(entry::jsonb #>> '{error,type}', '') AS stopped_with
FROM audit.run_log
WHERE phase = 'outcome' AND (event = 'attack_releases' OR (event = 'publish' AND entry::jsonb #> '{measures,attack_gained_less}' IS NOT NULL))
ORDER BY written_at DESC;
