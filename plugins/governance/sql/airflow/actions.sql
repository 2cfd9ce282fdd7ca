-- What people, and Airflow itself, did to runs and settings since an instant; not what tasks say of themselves. Of what came with an
-- action, such as a note or a run's configuration, only the new state is read.
SELECT id, dttm, event, coalesce(owner, 'unknown'), dag_id, run_id, task_id, coalesce(map_index, -1),
       CASE WHEN pg_input_is_valid(extra, 'jsonb') THEN coalesce(extra::jsonb ->> 'new_state', extra::jsonb ->> 'state') END
FROM log
WHERE dttm >= %(since)s
  AND event NOT IN ('scheduled', 'queued', 'running', 'success', 'failed', 'skipped', 'up_for_retry', 'up_for_reschedule', 'upstream_failed',
                    'deferred', 'restarting', 'removed', 'awaiting_input')
ORDER BY id
