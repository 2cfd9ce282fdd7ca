-- What may stay of a card past its term, each under keys of its own and out of the other's reach (K2 K3 K4).

-- By the client's choice: the number without its last digits, under the client's profile key. Never a token of it.
CREATE TABLE vault.saved_cards (
    card_key                 text PRIMARY KEY,              -- the card's id at the source
    client_id                bigint NOT NULL,
    captured_at              timestamptz NOT NULL,
    is_saved_to_profile      boolean NOT NULL,              -- chosen when the card was captured
    partial_number_encrypted bytea NOT NULL,
    saved_at                 timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON vault.saved_cards (client_id);

-- By a hold: a keyed token of the number; the number itself only where policy says that it is evidence.
CREATE TABLE vault.card_holds (
    hold_id          text PRIMARY KEY,
    card_key         text NOT NULL,
    reason           text NOT NULL CHECK (reason IN ('intrusion', 'fraud')),
    case_reference   text NOT NULL,
    placed_by        text NOT NULL,                         -- its owner, a staff account
    placed_at        timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL CHECK (expires_at > placed_at),
    released_at      timestamptz,
    token_list       text NOT NULL,                         -- scope of the key that made the token
    card_token       text NOT NULL,
    number_encrypted bytea
);
CREATE INDEX ON vault.card_holds (card_key);
