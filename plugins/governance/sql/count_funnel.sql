-- Clients whose inquiry was recorded 14 days before the partition, by how far it had come when the partition ended: asked, had an offer, or
-- accepted one, which is a booking. A client counts once, for the furthest of the inquiries of that day. Counted where the rows are: none
-- of them, and no client's number, leaves the source. While a restriction or an objection of a client stands (M1; policy value restriction_over),
-- the client does not count. Not looked at: whether a client was erased since, which only the source can act on, for a destroyed key names no number.
WITH period AS (
    SELECT (current_setting('governance.partition_start')::timestamptz AT TIME ZONE zone - interval '14 days') AT TIME ZONE zone AS begun,
           (current_setting('governance.partition_end')::timestamptz AT TIME ZONE zone - interval '14 days') AT TIME ZONE zone AS ended,
           current_setting('governance.partition_end')::timestamptz AS closed
    FROM current_setting('governance.time_zone') zone
), restricted AS (
    SELECT client_id FROM (
\ir newest_requests.sql
    ) newest
    WHERE kind IN ('restriction', 'objection') AND status <> ALL (string_to_array(current_setting('governance.restriction_over'), ','))
), reached AS (
    SELECT i.client_id,
           max(CASE WHEN o.inquiry_id IS NULL THEN 0 WHEN o.status = 'accepted' AND o.closed_at < p.closed THEN 2 ELSE 1 END) AS step
    FROM period p
    JOIN wellbe.inquiries i ON i.recorded_at >= p.begun AND i.recorded_at < p.ended
    LEFT JOIN wellbe.offers o ON o.inquiry_id = i.inquiry_id AND o.recorded_at < p.closed
    WHERE NOT EXISTS (SELECT FROM restricted x WHERE x.client_id = i.client_id)
    GROUP BY i.client_id
)
SELECT s.name AS table_name, count(r.client_id) AS rows
FROM (VALUES (0, 'inquiry'), (1, 'offer'), (2, 'booking')) s (step, name) LEFT JOIN reached r USING (step)
GROUP BY s.step, s.name
ORDER BY s.step
