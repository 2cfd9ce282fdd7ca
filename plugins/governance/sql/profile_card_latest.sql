-- Per client the latest event about cards in the profile that has taken effect by governance.now; an instant before year 1 is year 1 (E12). A
-- withdrawal of no known instant takes effect when it is received: it must not lose to what was given before it.
SELECT DISTINCT ON (client_id)
    client_id,
    decision = 'given' AS is_given,
    greatest(effective_at, '0001-01-02 00:00:00+00') AS effective_at,
    least(greatest(received_at, '0001-01-02 00:00:00+00'), '9999-12-31 00:00:00+00') AS received_at
FROM (
    SELECT
        client_id, decision, received_at, event_id,
        CASE
            WHEN decision = 'given' OR isfinite(effective_at) THEN effective_at
            WHEN isfinite(received_at) THEN received_at
            ELSE current_setting('governance.now')::timestamptz
        END AS effective_at
    FROM wellbe.consent_events
    WHERE purpose = 'profile_card'
) AS consent_events
WHERE effective_at <= current_setting('governance.now')::timestamptz
ORDER BY client_id, consent_events.effective_at DESC, consent_events.received_at DESC, event_id DESC, decision = 'given'
