-- L3: each run of the erasure of minors (how many were due, and erased), and each erasure: rows that ended, that a ground protects, that a search
-- found afterwards, and keys that were destroyed. Counts, and nobody's number. Of runs that found nobody, the last one alone.
SELECT date_trunc('second', written_at) AS ended_at, event, outcome,
       (entry::jsonb -> 'counts' ->> 'due')::bigint AS due,
       (entry::jsonb -> 'counts' ->> 'erased')::bigint AS erased,
       (SELECT sum(n::bigint) FROM jsonb_each_text(entry::jsonb -> 'counts') AS each (name, n) WHERE name LIKE 'erased %') AS rows_erased,
       (SELECT sum(n::bigint) FROM jsonb_each_text(entry::jsonb -> 'counts') AS each (name, n) WHERE name LIKE 'protected %') AS rows_protected,
       (entry::jsonb -> 'counts' ->> 'left')::bigint AS rows_left,
       jsonb_array_length(entry::jsonb -> 'keys') AS keys_destroyed
FROM audit.run_log
WHERE event IN ('erase_minors', 'erase') AND phase = 'outcome'
    AND (outcome <> 'no_data' OR written_at = (SELECT max(written_at) FROM audit.run_log WHERE event = 'erase_minors' AND phase = 'outcome'))
ORDER BY written_at DESC;
