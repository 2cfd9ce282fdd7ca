-- K1, K4: per day and rule about cards, how often retention ran, how many rows ended, the oldest that was ever left, and how many rows had
-- outlived their term before they ended. Counts and ages, never a card.
WITH told AS (
    SELECT partition_key AS rule, event, outcome, entry::jsonb AS entry, ((entry::jsonb ->> 'at')::timestamptz AT TIME ZONE 'UTC')::date AS day
    FROM audit.run_log
    WHERE dataset = 'retention' AND event IN ('retain', 'breach') AND phase = 'outcome' AND partition_key IN ('cards', 'cards_at_source', 'cvv_at_source')
)
SELECT day, rule,
       count(*) FILTER (WHERE event = 'retain' AND outcome IN ('passed', 'no_data')) AS runs_count,
       coalesce(sum((entry -> 'counts' ->> 'ended')::bigint) FILTER (WHERE event = 'retain'), 0)::bigint AS rows_ended,
       max((entry -> 'measures' ->> 'oldest_kept_hours')::float8) FILTER (WHERE event = 'retain') AS oldest_left_hours,
       coalesce(sum((entry -> 'counts' ->> 'rows')::bigint) FILTER (WHERE event = 'breach'), 0)::bigint AS rows_in_breach,
       max((entry -> 'measures' ->> 'hours_beyond_term')::float8) FILTER (WHERE event = 'breach') AS longest_breach_hours,
       count(*) FILTER (WHERE event = 'retain' AND outcome = 'failed') AS failed_runs
FROM told
GROUP BY day, rule
ORDER BY day DESC, rule
