"""Since when cards count that the source may have: what our database knows, for a session there. An edge.

At the source a card's row may say a later instant than it did, or be one that was put back, and whoever ends cards
there sees only that. So the ids that are due by what we know go with the session, and with them the oldest cards that
are not due, so that what stays is told by its first capture too. What has ended there is noted, and is not asked for
again until pull meets the card once more: an ordinary hour passes the cards of one hour. Policy clause K1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg2.extensions
from psycopg2 import sql

from governance.sources import named_query

TABLE = "control.first_captures"
READS = {TABLE: ("card_key", "captured_at", "is_at_source", "met_at")}
OTHERS = 10_000
"""How many cards that are not due go with them: more than are captured in an hour, and any that is there is enough."""


@dataclass(frozen=True)
class FirstCaptures:
    """Cards and instants, in the text form of PostgreSQL's arrays, because there may be a million of them."""

    due: str
    """Keys of those that are due."""
    keys: str
    instants: str
    """Those that are due and some more, each with its first capture."""
    read_at: datetime

    @classmethod
    def known(cls, cursor: psycopg2.extensions.cursor, end: datetime) -> FirstCaptures:
        """Those that the source may have; due are those that were captured before an instant."""
        cursor.execute(named_query("first_captures"), {"end": end, "others": OTHERS})
        (found,) = cursor.fetchall()
        return cls(*found)

    def joined(self, key: sql.Composable) -> sql.Composable:
        """The join that gives a card `known.captured_at`, where it is known."""
        known = sql.SQL("LEFT JOIN unnest({}::bigint[], {}::timestamptz[]) AS known (card_id, captured_at) ON {} = {}")
        return known.format(sql.Literal(self.keys), sql.Literal(self.instants), sql.SQL("known.card_id"), key)

    def is_due(self, key: sql.Composable) -> sql.Composable:
        """Whether a card is due by what we know."""
        return sql.SQL("{} = ANY ({}::bigint[])").format(key, sql.Literal(self.due))

    def note_ended(self, cursor: psycopg2.extensions.cursor) -> None:
        """Note of those that are due that the source has them no more.

        A card that pull has met since they were read may be there again.
        """
        cursor.execute(
            "UPDATE control.first_captures SET is_at_source = false "
            "WHERE card_key = ANY (%s::text[]) AND met_at <= %s AND is_at_source",
            (self.due, self.read_at),
        )
