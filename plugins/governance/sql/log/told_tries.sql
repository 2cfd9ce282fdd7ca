-- Every try that the run log tells of since an instant, with how it ended; NULL while it has no outcome.
SELECT attempt_id,
       (array_agg(entry::jsonb ORDER BY phase))[1],
       array_agg(outcome) FILTER (WHERE phase = 'outcome')
FROM audit.run_log
WHERE written_at >= %(since)s
GROUP BY attempt_id
