-- Partitions of a dataset whose validation had its effect, by the log.
SELECT DISTINCT partition_key FROM audit.run_log
WHERE event = 'validate' AND outcome IN ('passed', 'no_data', 'replayed') AND dataset = %(dataset)s
