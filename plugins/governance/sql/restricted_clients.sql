-- Whom a request to restrict the use of their data, or an objection, is about (M1): the newest status of each such request, and each scope that
-- the client's key may have. One who was erased and began anew has a key of the acceptance that it began with.
WITH newest AS (
\ir newest_requests.sql
)
SELECT status, 'client ' || client_id AS scope FROM newest WHERE kind IN ('restriction', 'objection')
UNION
SELECT n.status, 'client ' || n.client_id || ' since ' || trunc(extract(epoch FROM a.accepted_at))::bigint
FROM newest n JOIN wellbe.terms_acceptances a ON a.client_id = n.client_id
WHERE n.kind IN ('restriction', 'objection') AND a.accepted_at BETWEEN '0001-01-02' AND '9999-12-31'
