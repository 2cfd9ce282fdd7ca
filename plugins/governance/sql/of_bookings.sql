    -- Booking versions of some bookings alone, in the partition: in the place of `of_partition.sql`, so that each is found by its key.
    recorded_at >= current_setting('governance.partition_start')::timestamptz AND recorded_at < current_setting('governance.partition_end')::timestamptz
        AND booking_id = ANY ((SELECT current_setting('governance.bookings')::bigint[])::bigint[])
