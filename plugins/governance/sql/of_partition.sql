    -- Booking versions of the partition, or of one shard of it.
    recorded_at >= current_setting('governance.partition_start')::timestamptz AND recorded_at < current_setting('governance.partition_end')::timestamptz
        AND mod(mod(coalesce(booking_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
