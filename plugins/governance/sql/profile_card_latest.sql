-- Per client the latest event about cards in the profile that has taken effect by governance.now; an instant before year 1 is year 1 (E12).
SELECT DISTINCT ON (client_id)
    client_id,
    decision = 'given' AS is_given,
    greatest(effective_at, '0001-01-02 00:00:00+00') AS effective_at,
    least(greatest(received_at, '0001-01-02 00:00:00+00'), '9999-12-31 00:00:00+00') AS received_at
FROM wellbe.consent_events
WHERE purpose = 'profile_card' AND effective_at <= current_setting('governance.now')::timestamptz
ORDER BY client_id, consent_events.effective_at DESC, consent_events.received_at DESC, event_id DESC, decision = 'given'
