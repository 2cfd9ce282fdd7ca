-- Releases of a dataset, by day, with rows: what policy asked for then. Without k and l: of a model before the one that is attacked.
SELECT r.partition_key, k.value::integer, l.value::integer
FROM analytics.releases r
LEFT JOIN analytics.release_settings d ON (d.dataset, d.partition_key, d.setting) = (r.dataset, r.partition_key, 'bookings_release.delay')
LEFT JOIN analytics.release_settings k ON (k.dataset, k.partition_key, k.setting) = (d.dataset, d.partition_key, 'k')
LEFT JOIN analytics.release_settings l ON (l.dataset, l.partition_key, l.setting) = (d.dataset, d.partition_key, 'l')
WHERE r.dataset = %(dataset)s AND r.rows > 0
ORDER BY r.partition_key
