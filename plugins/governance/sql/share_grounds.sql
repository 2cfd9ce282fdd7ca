-- What clients have said that decides whether anything of theirs may go to a provider, as the source knows it at governance.now (N1, M1): whether the
-- latest word on health data is a consent, and which requests stand. Of two events of one instant the withdrawal wins; one of no known instant takes
-- effect when it is received (E12). A consent counts when it is shown since when it holds and that we have it: of no known instant, or received after now,
-- it is none (GDPR article 7(1)). A request stands until its newest status is one of governance.over; of two statuses of one instant, the one that is not.
WITH asked AS (
    SELECT unnest(current_setting('governance.clients')::bigint[]) AS client_id
), said AS (
    SELECT DISTINCT ON (client_id) client_id, decision = 'given' AS is_given, effective_at
    FROM (
        SELECT
            client_id, lower(btrim(decision)) AS decision, received_at, event_id,
            CASE
                WHEN lower(btrim(decision)) = 'given' OR isfinite(effective_at) THEN effective_at
                WHEN isfinite(received_at) THEN received_at
                ELSE current_setting('governance.now')::timestamptz
            END AS effective_at
        FROM wellbe.consent_events
        WHERE lower(btrim(purpose)) = 'health_data' AND client_id IN (SELECT client_id FROM asked)
    ) events
    WHERE effective_at <= current_setting('governance.now')::timestamptz
        AND (decision <> 'given' OR (effective_at >= '0001-01-02' AND received_at <= current_setting('governance.now')::timestamptz))
    ORDER BY client_id, effective_at DESC, received_at DESC, decision = 'given', event_id DESC
), newest AS (
    SELECT DISTINCT ON (request_id) client_id, lower(btrim(kind)) AS kind, lower(btrim(status)) AS status
    FROM wellbe.subject_requests
    WHERE client_id IN (SELECT client_id FROM asked)
    ORDER BY request_id, recorded_at DESC, lower(btrim(status)) = ANY (current_setting('governance.over')::text[])
)
SELECT
    a.client_id,
    coalesce(s.is_given, false) AS has_consented,
    CASE WHEN s.is_given THEN s.effective_at END AS consented_at,
    EXISTS (SELECT FROM newest n WHERE n.client_id = a.client_id AND n.kind = 'restriction' AND n.status <> ALL (current_setting('governance.over')::text[])) AS is_restricted,
    EXISTS (SELECT FROM newest n WHERE n.client_id = a.client_id AND n.kind = 'objection' AND n.status <> ALL (current_setting('governance.over')::text[])) AS has_objected,
    EXISTS (SELECT FROM newest n WHERE n.client_id = a.client_id AND n.kind = 'erasure' AND n.status <> ALL (current_setting('governance.over')::text[])) AS asked_for_erasure
FROM (SELECT DISTINCT client_id FROM asked) a
LEFT JOIN said s ON s.client_id = a.client_id
