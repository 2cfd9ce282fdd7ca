-- Page views recorded in the partition. An instant outside years 1 to 9999 is unknown.
SELECT
    v.view_id::text AS row_key,
    v.viewed_at AS "page_views.viewed_at",
    v.recorded_at AS "page_views.recorded_at",
    extract(epoch FROM v.recorded_at - v.viewed_at)::double precision AS recording_lag_seconds,
    floor(extract(epoch FROM v.viewed_at) / 60)::bigint AS viewed_minute,
    extract(year FROM v.viewed_at AT TIME ZONE 'UTC')::integer AS viewed_year,
    v.duration_ms AS "page_views.duration_ms",
    v.ip AS "page_views.ip",
    v.user_agent AS "page_views.user_agent",
    v.app_version AS "page_views.app_version",
    v.language AS "page_views.language",
    v.url AS "page_views.url",
    v.session_id AS "page_views.session_id",
    v.device_id AS "page_views.device_id",
    v.device_settings AS "page_views.device_settings",
    v.latitude AS "page_views.latitude",
    v.longitude AS "page_views.longitude"
FROM (
    SELECT
        view_id, recorded_at, duration_ms, ip, user_agent, app_version, language, url, session_id, device_id, device_settings, latitude, longitude,
        CASE WHEN viewed_at BETWEEN '0001-01-02' AND '9999-12-31' THEN viewed_at END AS viewed_at
    FROM wellbe.page_views
    WHERE recorded_at >= current_setting('governance.partition_start')::timestamptz AND recorded_at < current_setting('governance.partition_end')::timestamptz
        AND mod(mod(coalesce(view_id, 0), (SELECT current_setting('governance.shards')::bigint)) + (SELECT current_setting('governance.shards')::bigint), (SELECT current_setting('governance.shards')::bigint)) = (SELECT current_setting('governance.shard')::bigint)
) v
