-- K2: holds placed, by how many people, with the number as evidence; refused; released, and not by just anybody; ended; and looks for those that are to end.
SELECT count(*) FILTER (WHERE event = 'hold_card' AND outcome = 'passed') AS placed,
       count(DISTINCT entry::jsonb #>> '{run,triggered_by}') FILTER (WHERE event = 'hold_card' AND outcome = 'passed') AS owners,
       coalesce(sum((entry::jsonb #>> '{counts,numbers_kept}')::bigint) FILTER (WHERE event = 'hold_card'), 0) AS numbers_kept,
       count(*) FILTER (WHERE event = 'hold_card' AND outcome = 'failed') AS refused,
       count(*) FILTER (WHERE event = 'release_hold' AND outcome = 'passed') AS released,
       count(*) FILTER (WHERE event = 'release_hold' AND outcome = 'failed') AS releases_refused,
       coalesce(sum((entry::jsonb #>> '{counts,ended}')::bigint) FILTER (WHERE event = 'keep_cards'), 0) AS ended,
       count(*) FILTER (WHERE event = 'keep_cards' AND partition_key = 'holds' AND outcome <> 'failed') AS looks
FROM audit.run_log
WHERE event IN ('hold_card', 'release_hold', 'keep_cards') AND phase = 'outcome';
