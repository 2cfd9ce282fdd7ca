-- Tries of tasks that have ended since an instant: the present ones, earlier ones, and those of runs that were deleted since, of which
-- Airflow's event log still tells.
WITH tries AS (
    SELECT dag_id, run_id, task_id, map_index, try_number, state, coalesce(end_date, updated_at) AS ended_at,
           state <> 'up_for_retry' AS is_last
    FROM task_instance
    WHERE state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry') AND updated_at >= %(since)s
    UNION
    SELECT dag_id, run_id, task_id, map_index, try_number, coalesce(state, 'failed'), coalesce(end_date, updated_at), false
    FROM task_instance_history
    WHERE coalesce(state, 'failed') IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry')
      AND updated_at >= %(since)s
), told AS (
    SELECT DISTINCT ON (dag_id, run_id, task_id, map_index, try_number)
           dag_id, run_id, task_id, coalesce(map_index, -1) AS map_index, try_number, event AS state, dttm AS ended_at, false AS is_last
    FROM log
    WHERE event IN ('success', 'failed', 'skipped', 'up_for_retry') AND dttm >= %(since)s
      AND dag_id IS NOT NULL AND run_id IS NOT NULL AND task_id IS NOT NULL AND try_number IS NOT NULL
      AND NOT EXISTS (SELECT FROM dag_run r WHERE r.dag_id = log.dag_id AND r.run_id = log.run_id)
    ORDER BY dag_id, run_id, task_id, map_index, try_number, dttm DESC
)
SELECT t.dag_id, t.run_id, t.task_id, t.map_index, t.try_number, t.state, t.ended_at, t.is_last,
       coalesce(r.run_type, 'deleted'), r.triggering_user_name, r.partition_key
FROM (SELECT * FROM tries UNION ALL SELECT * FROM told) t
LEFT JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
ORDER BY t.ended_at, t.dag_id, t.run_id, t.task_id, t.map_index, t.try_number
