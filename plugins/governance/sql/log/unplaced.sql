-- Entries that have neither a place in the tree nor wait for one: somebody took them out of the queue.
SELECT count(*) FROM audit.run_log r
WHERE NOT EXISTS (SELECT FROM audit.leaves l WHERE l.entry_id = r.entry_id)
  AND NOT EXISTS (SELECT FROM audit.pending p WHERE p.entry_id = r.entry_id)
