-- For each landing of some partitions, the first release that could have had its rows; that of day %(day)s where there was none since.
SELECT l.partition_key, coalesce(min(r.partition_key), %(day)s)
FROM control.landings l
LEFT JOIN analytics.releases r ON r.dataset = l.dataset AND r.partition_key >= l.partition_key AND r.released_at > l.opened_at
WHERE l.dataset = %(dataset)s AND l.partition_key = ANY (%(days)s)
GROUP BY l.landing_no
ORDER BY l.landing_no
