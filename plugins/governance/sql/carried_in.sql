-- Earlier partitions of which a release carries rows in: how many were accepted of each, less those that retention has ended since, how many
-- rows the vault shows, and the form that they were landed in.
SELECT
    b.partition_key,
    b.accepted - coalesce((SELECT sum(p.rows) FROM control.purged p
                           WHERE p.landing_no = b.settled_no AND p.table_name = %(table)s AND p.purged_at > b.changed_at), 0),
    (SELECT count(*) FROM {root} v WHERE v.partition_key = b.partition_key),
    l.form
FROM control.batches b LEFT JOIN control.landings l ON l.landing_no = b.settled_no
WHERE b.dataset = %(dataset)s
  AND b.partition_key IN (SELECT accepted_partition FROM vault.release_ledger
                          WHERE dataset = %(dataset)s AND release_partition = %(day)s AND accepted_partition <> %(day)s)
ORDER BY b.partition_key
