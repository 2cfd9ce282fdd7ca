-- Leaves in the order of the tree, from one on; NULL where the entry itself is gone.
SELECT l.leaf_index, CASE WHEN r.entry_id IS NOT NULL THEN audit.leaf(r) END
FROM audit.leaves l LEFT JOIN audit.run_log r USING (entry_id)
WHERE l.leaf_index >= %s
ORDER BY l.leaf_index
