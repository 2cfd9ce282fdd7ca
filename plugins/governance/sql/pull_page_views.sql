-- Page views recorded in [$1, $2).
SELECT
    v.view_id::text AS row_key,
    v.viewed_at AS "page_views.viewed_at",
    v.recorded_at AS "page_views.recorded_at",
    extract(epoch FROM v.recorded_at - v.viewed_at)::double precision AS recording_lag_seconds,
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
FROM wellbe.page_views v
WHERE v.recorded_at >= $1 AND v.recorded_at < $2
