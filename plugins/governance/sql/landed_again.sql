-- Earlier partitions that were landed again and are not settled yet, of which the vault shows rows that no release has decided.
SELECT b.partition_key
FROM control.batches b
WHERE b.dataset = %(dataset)s AND b.partition_key < %(day)s AND b.state <> 'settled'
  AND EXISTS (SELECT FROM {root} v WHERE v.partition_key = b.partition_key
              AND NOT EXISTS (SELECT FROM vault.release_ledger r WHERE r.dataset = %(dataset)s AND r.row_key = v.row_key
                              AND r.accepted_partition = v.partition_key))
ORDER BY b.partition_key
