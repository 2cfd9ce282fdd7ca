-- Tries that are at work, or hold their place while they wait for something.
SELECT dag_id, run_id, task_id, map_index, try_number
FROM task_instance
WHERE state IN ('running', 'queued', 'restarting', 'deferred', 'up_for_reschedule', 'awaiting_input')
