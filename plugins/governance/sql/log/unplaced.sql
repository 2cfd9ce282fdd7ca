-- How many entries have neither a place in the tree nor wait for one: somebody took them out of the queue. That every place has its entry
-- is seen when the leaves are read.
SELECT (SELECT count(*) FROM audit.run_log) - (SELECT count(*) FROM audit.leaves)
     - (SELECT count(*) FROM audit.pending JOIN audit.run_log USING (entry_id))
