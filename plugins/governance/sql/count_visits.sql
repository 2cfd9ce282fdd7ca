-- What the source holds for the partition, counted in the snapshot that is read. Named by landed table.
SELECT 'page_views' AS table_name, count(*) AS rows FROM wellbe.page_views WHERE recorded_at >= current_setting('governance.partition_start')::timestamptz AND recorded_at < current_setting('governance.partition_end')::timestamptz
    AND mod(mod(coalesce(view_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
