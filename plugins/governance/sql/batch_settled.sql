-- A partition's batch as it has just been settled.
UPDATE control.batches SET state = 'settled', settled_no = landing_no, accepted = %s, quarantined = %s, changed_at = clock_timestamp()
WHERE dataset = %s AND partition_key = %s
