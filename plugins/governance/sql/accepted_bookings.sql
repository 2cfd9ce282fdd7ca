-- Accepted booking versions as a release needs them, with the procedure of their first health service.
SELECT
    b.row_key, b.partition_key, b.booking_id, b.version, b.client_token, b.status, b.client_country_code,
    b.travellers_count, b.lead_days, b.nights_count, b.price_amount_minor, b.currency_code,
    s.row_key AS service_row_key, s.procedure_code_encrypted
FROM vault.bookings b
LEFT JOIN LATERAL (
    SELECT s.row_key, s.procedure_code_encrypted
    FROM vault.booking_services s
    WHERE s.root_key = b.row_key AND s.partition_key = b.partition_key AND s.kind = 'health'
    ORDER BY s.service_no LIMIT 1
) s ON true
