-- Of clients governance.clients.
SELECT client_id, is_given, effective_at, received_at FROM (
\ir profile_card_latest.sql
) latest WHERE client_id = ANY (current_setting('governance.clients')::bigint[])
