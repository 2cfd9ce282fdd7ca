    -- Rows that a recipient was sent, and the last version that it has which names their service and person; is_superseded: there is a later one without.
    SELECT h.*, max(h.version) OVER one < max(h.version) OVER (PARTITION BY h.booking_reference) AS is_superseded
    FROM sharing.delivered_rows h JOIN sharing.deliveries d USING (delivery_id)
    WHERE d.recipient_id = %(recipient)s AND d.sent_at IS NOT NULL AND d.given_up_at IS NULL
    WINDOW one AS (PARTITION BY h.booking_reference, h.service_reference, h.person_reference)
