-- Numbers of clients that are saved beside cards which end.
SELECT partial_number_encrypted FROM vault.saved_cards WHERE client_id = ANY (%s) AND card_key <> ALL (%s)
