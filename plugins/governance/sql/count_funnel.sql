-- Clients whose inquiry was recorded 14 days before the partition, by how far it had come when the partition ended: asked, had an offer, or
-- accepted one, which is a booking. A client counts once, for the furthest of the inquiries of that day. Counted where the rows are: none
-- of them, and no client's number, leaves the source. Only clients count who had accepted the terms by then (A1), were adults on the day of the
-- inquiry (L1; an unknown birth date is no adult's), and of whom no restriction, objection or erasure stands (M1; policy value restriction_over;
-- an erasure that is done stands for ever).
WITH period AS (
    SELECT (current_setting('governance.partition_start')::timestamptz AT TIME ZONE zone - interval '14 days') AT TIME ZONE zone AS begun,
           (current_setting('governance.partition_end')::timestamptz AT TIME ZONE zone - interval '14 days') AT TIME ZONE zone AS ended,
           current_setting('governance.partition_end')::timestamptz AS closed,
           (current_setting('governance.partition_start')::timestamptz AT TIME ZONE zone)::date - 14 AS day
    FROM current_setting('governance.time_zone') zone
), restricted AS (
    SELECT client_id FROM (
\ir newest_requests.sql
    ) newest
    WHERE kind IN ('restriction', 'objection', 'erasure') AND status <> ALL (string_to_array(current_setting('governance.restriction_over'), ','))
), reached AS (
    SELECT i.client_id,
           max(CASE WHEN o.inquiry_id IS NULL THEN 0 WHEN o.status = 'accepted' AND o.closed_at < p.closed THEN 2 ELSE 1 END) AS step
    FROM period p
    JOIN wellbe.inquiries i ON i.recorded_at >= p.begun AND i.recorded_at < p.ended
    LEFT JOIN wellbe.offers o ON o.inquiry_id = i.inquiry_id AND o.recorded_at < p.closed
    WHERE NOT EXISTS (SELECT FROM restricted x WHERE x.client_id = i.client_id)
        AND EXISTS (SELECT FROM wellbe.terms_acceptances a
                    WHERE a.client_id = i.client_id AND a.recorded_at < p.closed AND a.accepted_at >= '0001-01-02' AND a.accepted_at < p.closed)
        -- As age.py counts: whoever is born on 29 February has the birthday on 1 March in common years.
        AND (SELECT c.birth_date FROM wellbe.clients c WHERE c.client_id = i.client_id AND c.recorded_at < p.closed
             ORDER BY c.version DESC, c.recorded_at DESC LIMIT 1)
            BETWEEN '0001-01-01' AND (p.day - make_interval(years => current_setting('governance.adult_years')::integer))::date
    GROUP BY i.client_id
)
SELECT s.name AS table_name, count(r.client_id) AS rows
FROM (VALUES (0, 'inquiry'), (1, 'offer'), (2, 'booking')) s (step, name) LEFT JOIN reached r USING (step)
GROUP BY s.step, s.name
ORDER BY s.step
