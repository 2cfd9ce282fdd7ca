-- Which cards are due, by their own instant or by their ids, without a look at those that are not.
CREATE INDEX IF NOT EXISTS payment_cards_captured_at ON wellbe.payment_cards (captured_at);
CREATE INDEX IF NOT EXISTS payment_cards_key ON wellbe.payment_cards (card_id);
