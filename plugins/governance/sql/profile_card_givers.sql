-- Clients whose latest word is that their cards stay.
SELECT client_id FROM (
\ir profile_card_latest.sql
) latest WHERE is_given
