"""What becomes of the rows of each table, when, on whose word, and on what ground some stay. Part of `policy.py`."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import model_validator

from governance.strict import Strict

Store = Literal["warehouse", "source"]


class Ground(Strict):
    """Why a row that is due stays: `sql/grounds/<name>.sql` says which."""

    clause: str
    description: str


class RetentionRule(Strict):
    """A rule of one table. A table may have several, all of which are executed; the first that finds a row acts."""

    store: Store = "warehouse"
    table: str  # with its schema
    act: Literal["delete", "blank", "keep"]
    clause: str
    rationale: str
    clock: str = ""  # the column that age is counted from; without an instant, or with one to come, a row is over age
    counted_from: Literal["instant", "hour"] = "instant"  # hour: the beginning of its UTC hour, as its key is
    from_first: bool = (
        False  # of cards at the source: from the first capture that we know of, whatever the row says now
    )
    term: str = ""  # an open value, in days; without a term everything that the rule is about is due
    margin: str = ""  # an open value, in hours: so much earlier
    key: tuple[str, ...] = ()  # columns that tell rows apart, surrogates all: a plan is about these rows and no others
    only: dict[str, str] = {}  # column -> value of the rows that the rule is about
    columns: tuple[str, ...] = ()  # that `blank` sets to NULL
    grounds: tuple[str, ...] = ()  # what protects a row that is due
    outlives: tuple[str, ...] = ()  # rules whose rows must have ended before
    account: dict[
        str, tuple[str, ...]
    ] = {}  # table -> columns that `sql/accounts/<rule>.sql` reads: see `Table.account`
    reads: dict[str, tuple[str, ...]] = {}  # table -> columns that its grounds read
    breach: bool = False  # a row that outlives the term itself breaks the clause: an entry of its own says for how long
    identifiers: dict[str, str] = {}  # of a table that keeps its rows: column that names somebody -> why it may
    others: tuple[str, ...] = ()  # the table's other columns; one of ours that its rules name nowhere stops the crawl
    texts: tuple[str, ...] = ()  # every column of a table of ours whose type may hold anything: text, bytes, JSON

    @property
    def schema_name(self) -> str:
        """The table's schema."""
        return self.table.partition(".")[0]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if "." not in self.table:
            raise ValueError(f"a retention rule names its table with its schema, not {self.table!r}")
        if (self.act == "keep") and (self.clock or self.term or self.columns or self.grounds):
            raise ValueError(f"what {self.table} keeps has neither clock nor term")
        if bool(self.clock) != bool(self.term):
            raise ValueError(f"a clock of {self.table} needs a term, and a term a clock")
        if (self.act == "blank") != bool(self.columns):
            raise ValueError(f"a rule of {self.table} that blanks needs columns, and no other does")
        if bool(self.key) == (self.act == "keep"):
            raise ValueError(f"a rule of {self.table} that acts needs a key, and no other does")
        if self.from_first and (self.store != "source" or self.act != "delete" or len(self.key) != 1):
            raise ValueError(f"only a rule that deletes cards at the source counts from what we know, not {self.table}")
        if self.act == "delete" and not self.clock:
            raise ValueError(f"a rule that deletes rows of {self.table} needs a clock and a term")
        return self


class ErasedPlace(Strict):
    """Where something of an erased person stands, whose the rows are, and what becomes of them."""

    store: Store = "warehouse"
    table: str
    whose: Literal["traveller", "guardian", "client", "booking"]
    named_by: Literal["columns", "row_key", "root_key", "card_key"] = "columns"  # see `erasure.NAMING`
    began: str = ""  # of a client's rows: the instant that tells an earlier subject of theirs from a later one
    sealed: str = ""  # ciphertexts of rows that are deleted, whose keys go with them
    only: dict[str, str] = {}  # column -> value of the rows that can be theirs
    act: Literal["delete", "blank", "keep"]
    columns: tuple[str, ...] = ()  # that `blank` sets to NULL, and that `keep` leaves
    ground: str = ""  # why what is kept stays (E27)
    rationale: str

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if (self.act == "delete") == bool(self.columns):
            raise ValueError(
                f"a place of erasure in {self.table} names columns where it does not delete, and only there"
            )
        if (self.act == "keep") != bool(self.ground):
            raise ValueError(f"what an erasure leaves in {self.table} needs a ground, and nothing else does")
        if self.named_by != "columns" and (
            (self.whose == "client") != (self.named_by == "card_key")
            or (self.whose, self.named_by) == ("traveller", "root_key")
            or self.whose == "guardian"
        ):
            raise ValueError(f"no {self.named_by} of {self.table} names a {self.whose}")
        if bool(self.began) != ((self.whose, self.named_by) == ("client", "columns")):
            raise ValueError(f"rows of clients in {self.table} need a column that says when they began, and only those")
        return self


class Outside(Strict):
    """A table that rules of retention are not about, with all its columns, and why."""

    store: Store
    table: str
    columns: tuple[str, ...]
    rationale: str


class Database(Strict):
    """A database of our cluster beside our own, and why no rule is about what stands in it."""

    is_empty: bool = False  # nobody may make a table there
    rationale: str


class Retention(Strict):
    """Everything that policy says about the end of data."""

    rules: dict[str, RetentionRule]
    outside: dict[str, Outside] = {}
    databases: dict[str, Database] = {}
    grounds: dict[str, Ground]
    erasure: dict[str, ErasedPlace] = {}

    def of(self, store: Store) -> dict[str, RetentionRule]:
        """The rules of one store, by name."""
        return {name: rule for name, rule in self.rules.items() if rule.store == store}

    def outside_of(self, store: Store) -> dict[str, tuple[str, ...]]:
        """Tables of one store of which policy says why no rule is about them, with their columns."""
        return {each.table: each.columns for each in self.outside.values() if each.store == store}

    def references(
        self, values: Container[str], clauses: Container[str], zones: Container[str], sources: Container[str]
    ) -> Iterator[tuple[str, str, Container[str]]]:
        """(who, whom, among what) of every name that this part uses of the rest of the policy."""
        for name, rule in self.rules.items():
            who = f"retention rule {name}"
            yield who, rule.clause, clauses
            yield from ((who, value, values) for value in (rule.term, rule.margin) if value)
            yield from ((who, ground, self.grounds) for ground in rule.grounds)
            yield from ((who, other, self.rules) for other in rule.outlives)
            yield (who, rule.schema_name, zones) if rule.store == "warehouse" else (
                who, rule.table.partition(".")[2], sources,
            )  # fmt: skip
        for name, place in self.erasure.items():
            who = f"place of erasure {name}"
            yield from ((who, ground, self.grounds) for ground in (place.ground,) if ground)
            schema, _, table = place.table.partition(".")
            yield (who, schema, zones) if place.store == "warehouse" else (who, table, sources)
        yield from ((f"ground {name}", ground.clause, clauses) for name, ground in self.grounds.items())


def due_before(rule: RetentionRule, now: datetime, days: float, hours: float) -> datetime:
    """Rows whose clock stands before this instant are due: 24 hours of UTC a day, whatever a wall clock did (E06)."""
    return now - timedelta(days=days) + timedelta(hours=hours)
