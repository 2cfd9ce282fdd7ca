-- What the source holds for the partition, counted in the snapshot that is read. Named by landed table.
SELECT 'bookings' AS table_name, count(*) AS rows FROM wellbe.bookings WHERE recorded_at >= current_setting('governance.partition_start')::timestamptz AND recorded_at < current_setting('governance.partition_end')::timestamptz
    AND mod(mod(coalesce(booking_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
UNION ALL
SELECT 'booking_travellers', count(*) FROM wellbe.booking_travellers t
    WHERE EXISTS (SELECT FROM wellbe.bookings b WHERE b.booking_id = t.booking_id AND b.version = t.version AND b.recorded_at >= current_setting('governance.partition_start')::timestamptz AND b.recorded_at < current_setting('governance.partition_end')::timestamptz)
    AND mod(mod(coalesce(t.booking_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
UNION ALL
SELECT 'booking_services', count(*) FROM wellbe.booking_services s
    WHERE EXISTS (SELECT FROM wellbe.bookings b WHERE b.booking_id = s.booking_id AND b.version = s.version AND b.recorded_at >= current_setting('governance.partition_start')::timestamptz AND b.recorded_at < current_setting('governance.partition_end')::timestamptz)
    AND mod(mod(coalesce(s.booking_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
UNION ALL
SELECT 'payment_cards', count(*) FROM wellbe.payment_cards WHERE recorded_at >= current_setting('governance.partition_start')::timestamptz AND recorded_at < current_setting('governance.partition_end')::timestamptz
    AND mod(mod(coalesce(booking_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
