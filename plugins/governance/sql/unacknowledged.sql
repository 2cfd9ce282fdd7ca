-- Deliveries and notices that were sent, and that their recipients have not acknowledged.
SELECT recipient_id, sent_at FROM sharing.deliveries
WHERE sent_at IS NOT NULL AND acknowledged_at IS NULL AND given_up_at IS NULL
ORDER BY sent_at, recipient_id
