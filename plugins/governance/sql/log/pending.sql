-- The oldest entries without a place in the tree, with the bytes of their leaf; NULL where the entry itself is gone.
SELECT p.written_at, p.entry_id, CASE WHEN r.entry_id IS NOT NULL THEN audit.leaf(r) END
FROM audit.pending p LEFT JOIN audit.run_log r USING (entry_id)
ORDER BY p.written_at, p.entry_id
LIMIT %s
