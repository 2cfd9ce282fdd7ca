"""Erasing a minor from every place that policy lists, and the search that finds nothing afterwards. An edge.

Which rows are somebody's follows from a booking's number, those of its travellers in each version and those of
clients, and from no content. A place that a ground protects is counted and left (E27). So is what belongs to a subject
that the same client began afterwards, as an adult. Policy clause L3; GDPR article 17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from governance import retention
from governance.key import ID_BYTES
from governance.policy import Policy
from governance.renumbering import Place
from governance.retention_rules import ErasedPlace, Store

NAMING: dict[str, dict[str, tuple[str, ...]]] = {
    "columns": {
        "booking": ("booking_id",),
        "traveller": ("booking_id", "traveller_no", "version"),
        "guardian": ("booking_id", "traveller_no"),
        "client": ("client_id",),
    },
    "row_key": {"booking": ("row_key",), "traveller": ("row_key",)},
    "root_key": {"booking": ("root_key",)},
    "card_key": {"client": ("card_key",)},
}
"""How a place names whose a row is: by columns of its own, by the parts of a key, booking/version/traveller, or by the
id of a card, while it says whose card it is."""

CARDS = {"records.payment_cards": "row_key", "vault.saved_cards": "card_key"}
"""Where our database says whose card it is, and by which column; both are places of a client themselves."""


@dataclass(frozen=True)
class Erasure:
    """Who of a booking is to be erased; noted when it is begun, so that a try which goes on erases them all (L3)."""

    number: int
    booking_id: int
    travellers: tuple[Place, ...]
    """Versions, and their numbers there."""
    clients: tuple[int, ...]
    booked_at: datetime
    """When the clients booked last, which tells as which of their subjects they are erased."""
    left_out: tuple[Place, ...] = ()
    """Travellers in review whom it is not about: adults by their birth date, or accepted as adults by now."""
    protected: Mapping[str, int] = field(default_factory=dict)
    """How many stay because they stand accepted by now, by who they are."""
    until: Mapping[int, datetime] = field(default_factory=dict)
    """Of clients who have begun anew since: when. What is from then on is another subject's."""

    def joined_by(self, other: Erasure) -> Erasure:
        """This one, and whoever of the same booking is a minor by now."""
        clients = tuple(sorted({*self.clients, *other.clients}))
        return replace(
            self,
            travellers=tuple(sorted({*self.travellers, *other.travellers})),
            clients=clients,
            left_out=other.left_out,
            protected=other.protected,
            booked_at=self.booked_at if clients == self.clients else max(self.booked_at, other.booked_at),
        )

    def numbers(self) -> list[int]:
        """Of travellers, in whatever version."""
        return sorted({number for _, number in self.travellers})

    def row_keys(self) -> list[str]:
        """Of travellers."""
        return [f"{self.booking_id}/{version}/{number}" for version, number in self.travellers]

    def scopes(self, holder: str) -> list[str]:
        """Of the keys of travellers or guardians."""
        return [f"{holder} {self.booking_id}/{number}" for number in self.numbers()]


@dataclass(frozen=True)
class Erased:
    """Rows by place: ended, and left on a ground."""

    ended: dict[str, int] = field(default_factory=dict)
    protected: dict[str, int] = field(default_factory=dict)


def places(policy: Policy, store: Store) -> dict[str, ErasedPlace]:
    """The places of one store, by name."""
    return {name: place for name, place in policy.retention.erasure.items() if place.store == store}


class Places:
    """The places of one store that an erasure reaches, through a cursor of a session there."""

    def __init__(self, cursor: psycopg2.extensions.cursor, policy: Policy, store: Store, erasure: Erasure) -> None:
        self._cursor, self._erasure = cursor, erasure
        self._places = places(policy, store)

    def standing(self) -> Erased:
        """Rows that are to end, and rows that a ground protects."""
        counted: dict[str, dict[str, int]] = {"keep": {}, "end": {}}
        for name, place in self._places.items():
            query = sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(_table(place), self._stands(place))
            self._cursor.execute(query)
            ((count,),) = self._cursor.fetchall()
            if count:
                counted["keep" if place.act == "keep" else "end"][name] = count
        return Erased(counted["end"], counted["keep"])

    def end(self) -> Erased:
        """Delete and blank what is to end; returns the rows of each place."""
        ended = {}
        for name, place in self._places.items():
            if place.act == "keep":
                continue
            act = sql.SQL("DELETE FROM {} AS t").format(_table(place))
            if place.act == "blank":
                blank = sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(c)) for c in place.columns)
                act = sql.SQL("UPDATE {} AS t SET {}").format(_table(place), blank)
            self._cursor.execute(sql.SQL("{} WHERE {}").format(act, self._stands(place)))
            if self._cursor.rowcount:
                ended[name] = self._cursor.rowcount
        return Erased(ended)

    def keys(self) -> set[bytes]:
        """Ids of the keys that go with the rows, where policy says so."""
        found: set[bytes] = set()
        for place in self._places.values():
            if place.sealed:
                query = sql.SQL("SELECT DISTINCT substr(t.{}, 2, {}) FROM {} AS t WHERE {}").format(
                    sql.Identifier(place.sealed), sql.Literal(ID_BYTES), _table(place), self._stands(place)
                )
                self._cursor.execute(query)
                found |= {bytes(id) for (id,) in self._cursor.fetchall()}
        return found

    def unsettled(self) -> int:
        """Rows in a landing that is still to be validated: they are validation's, which will hold them back."""
        total = 0
        for place in self._places.values():
            if place.table.startswith("records.") and place.act != "keep":
                self._cursor.execute(
                    sql.SQL(
                        "SELECT count(*) FROM {} AS t WHERE {} AND t.landing_no IS DISTINCT FROM (SELECT b.settled_no "
                        "FROM control.batches b WHERE b.dataset = 'bookings' AND b.partition_key = t.partition_key)"
                    ).format(_table(place), self._stands(place))
                )
                ((count,),) = self._cursor.fetchall()
                total += int(count)
        return total

    def _stands(self, place: ErasedPlace) -> sql.Composable:
        """Whose row it is, and, where columns are blanked, that one of them says something."""
        conditions = [_is(column, value) for column, value in place.only.items()]
        conditions += self._whose(place)
        if place.act == "blank":
            filled = (sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(column)) for column in place.columns)
            conditions.append(sql.SQL("({})").format(sql.SQL(" OR ").join(filled)))
        return sql.SQL(" AND ").join(conditions)

    def _whose(self, place: ErasedPlace) -> list[sql.Composable]:
        erasure, (name, *_) = self._erasure, NAMING[place.named_by][place.whose]
        if place.named_by == "card_key":
            return [self._of_their_cards(name)]
        if place.whose == "client":
            return [self._of_clients("t", place.began)]
        if place.named_by == "columns":
            return [_is(name, erasure.booking_id), *self._numbered(place.whose)]
        key = sql.Identifier(name)
        conditions: list[sql.Composable] = [
            sql.SQL("split_part(t.{}, '/', 1) = {}").format(key, sql.Literal(str(erasure.booking_id)))
        ]
        if place.whose == "traveller":
            conditions.append(sql.SQL("t.{} = ANY ({}::text[])").format(key, sql.Literal(erasure.row_keys())))
        return conditions

    def _numbered(self, whose: str) -> list[sql.Composable]:
        """A consent is for a number, whatever version it is of."""
        if whose == "guardian":
            return [sql.SQL("t.traveller_no = ANY ({}::int[])").format(sql.Literal(self._erasure.numbers()))]
        if whose == "booking":
            return []
        versions, numbers = ([place[part] for place in self._erasure.travellers] for part in (0, 1))
        listed = sql.SQL("(t.version, t.traveller_no) IN (SELECT * FROM unnest({}::int[], {}::int[]))")
        return [listed.format(sql.Literal(versions), sql.Literal(numbers))]

    def _of_clients(self, row: str, began: str) -> sql.Composable:
        """Rows of the clients as whom they are erased: of one who has begun anew since, those from before."""
        clients = list(self._erasure.clients)
        until = [self._erasure.until.get(client) for client in clients]
        return sql.SQL(
            "{row}.client_id = ANY ({clients}::bigint[]) AND EXISTS ("
            "SELECT FROM unnest({clients}::bigint[], {until}::timestamptz[]) AS who (client_id, until) "
            "WHERE who.client_id = {row}.client_id AND (who.until IS NULL OR {row}.{began} < who.until) IS NOT FALSE)"
        ).format(
            clients=sql.Literal(clients),
            until=sql.Literal(until),
            row=sql.Identifier(row),
            began=sql.Identifier(began),
        )

    def _of_their_cards(self, name: str) -> sql.Composable:
        listed = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT c.{} FROM {} AS c WHERE {}").format(
                sql.Identifier(key), sql.Identifier(*table.split(".")), self._of_clients("c", "captured_at")
            )
            for table, key in CARDS.items()
        )
        return sql.SQL("t.{} IN ({})").format(sql.Identifier(name), listed)


def _table(place: ErasedPlace) -> sql.Identifier:
    return sql.Identifier(*place.table.split("."))


def _is(column: str, value: Any) -> sql.Composable:
    return sql.SQL("t.{} = {}").format(sql.Identifier(column), sql.Literal(value))


def columns_read(place: ErasedPlace) -> list[str]:
    """The columns of its table that an erasure reads."""
    landed = ("landing_no", "partition_key") if place.table.startswith("records.") and place.act != "keep" else ()
    told = (column for column in (place.began, place.sealed) if column)
    return sorted({*NAMING[place.named_by][place.whose], *place.only, *place.columns, *told, *landed})


def grant(cursor: psycopg2.extensions.cursor, place: ErasedPlace, role: str) -> None:
    """Let a role do what an erasure asks for in a place, and read the columns that it reads, and no more."""

    def listed(names: Sequence[str]) -> sql.Composable:
        return sql.SQL(", ").join(map(sql.Identifier, names))

    rights: list[sql.Composable] = [sql.SQL("SELECT ({})").format(listed(columns_read(place)))]
    if place.act == "delete":
        rights.append(sql.SQL("DELETE"))
    if place.act == "blank":
        rights.append(sql.SQL("UPDATE ({})").format(listed(place.columns)))
    given = sql.SQL(", ").join(rights)
    cursor.execute(sql.SQL("GRANT {} ON {} TO {}").format(given, _table(place), sql.Identifier(role)))


def grant_at_source(cursor: psycopg2.extensions.cursor, policy: Policy) -> None:
    """Let `source_retention` do at the source what rules of retention and of erasure ask for, and no more."""
    role = sql.Identifier("source_retention")
    cursor.execute(sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA wellbe FROM {}").format(role))
    cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA wellbe TO {}").format(role))
    for rule in policy.retention.of("source").values():
        if rule.act != "keep":
            retention.grant(cursor, rule, "source_retention")
    for place in places(policy, "source").values():
        grant(cursor, place, "source_retention")
