-- A partition's batch as it has just been landed; whatever was known of it before is replaced.
INSERT INTO control.batches (dataset, partition_key, state, run_id, pull_attempt, source_counts, landed_counts, refused, dropped)
VALUES (%s, %s, 'landed', %s, %s, %s, %s, %s, %s)
ON CONFLICT (dataset, partition_key) DO UPDATE SET
    state = 'landed',
    run_id = EXCLUDED.run_id,
    pull_attempt = EXCLUDED.pull_attempt,
    source_counts = EXCLUDED.source_counts,
    landed_counts = EXCLUDED.landed_counts,
    refused = EXCLUDED.refused,
    dropped = EXCLUDED.dropped,
    accepted = NULL,
    quarantined = NULL,
    changed_at = clock_timestamp()
