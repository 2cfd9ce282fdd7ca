-- The newest status of each request of a client about their data.
SELECT DISTINCT ON (request_id) client_id, lower(btrim(status)) AS status, lower(btrim(kind)) AS kind
FROM wellbe.subject_requests
ORDER BY request_id, recorded_at DESC
