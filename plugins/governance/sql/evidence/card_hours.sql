-- K2 K3: hours of capture whose cards have ended, what stayed of those cards, and hours whose branches do not add up.
SELECT count(DISTINCT entry::jsonb #>> '{details,hour}') AS hours,
       coalesce(sum((entry::jsonb #>> '{counts,captured}')::bigint), 0) AS captured,
       coalesce(sum((entry::jsonb #>> '{counts,saved_only}')::bigint), 0) AS saved_only,
       coalesce(sum((entry::jsonb #>> '{counts,held_only}')::bigint), 0) AS held_only,
       coalesce(sum((entry::jsonb #>> '{counts,both}')::bigint), 0) AS both,
       coalesce(sum((entry::jsonb #>> '{counts,gone}')::bigint), 0) AS gone,
       count(*) FILTER (WHERE (entry::jsonb #>> '{counts,captured}')::bigint
           <> (entry::jsonb #>> '{counts,saved_only}')::bigint + (entry::jsonb #>> '{counts,held_only}')::bigint
            + (entry::jsonb #>> '{counts,both}')::bigint + (entry::jsonb #>> '{counts,gone}')::bigint) AS hours_that_do_not_add_up
FROM audit.run_log
WHERE event = 'end_card_hour' AND phase = 'outcome';
