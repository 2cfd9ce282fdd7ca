-- Cards that are in a profile.
SELECT card_key, client_id, captured_at, is_saved_to_profile, partial_number_encrypted FROM vault.saved_cards
