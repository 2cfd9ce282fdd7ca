-- Leaves in the order of the tree, from one on, up to another; NULL where the entry itself is gone.
SELECT l.leaf_index, CASE WHEN r.entry_id IS NOT NULL THEN audit.leaf(r) END
FROM audit.leaves l LEFT JOIN audit.run_log r USING (entry_id)
WHERE l.leaf_index >= %(start)s AND (%(end)s IS NULL OR l.leaf_index < %(end)s)
ORDER BY l.leaf_index
