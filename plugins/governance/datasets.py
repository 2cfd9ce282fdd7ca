"""What policy says of one dataset: its source columns, what lands and how, what is published. Part of `policy.py`."""

from __future__ import annotations

from collections.abc import Container, Iterator
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from governance.strict import Strict

UNKNOWN = "unknown"
"""What a published column says of a value that nobody knows."""
OTHERS = "(all other values)"
"""What stands for all values that are too rare to be told one by one, where counts are compared."""


class Treatment(StrEnum):
    """What happens to a value on its way in (GDPR Art. 5(1)(c), (e), (f))."""

    REFUSE = "refuse"  # never read
    ENCRYPT = "encrypt"  # at rest, from before it reaches our database
    WITHHOLD = "withhold"  # readable in the vault by its purposes, never published
    TOKENISE = "tokenise"  # keyed pseudonym
    GENERALISE = "generalise"  # a measured or coarser fact
    KEEP = "keep"


class SourceColumn(Strict):
    """A column of the source: its PostgreSQL type, fideslang data category and treatment."""

    type: str
    category: str
    treatment: Treatment
    note: str = ""


class LandedColumn(Strict):
    """A column of landing and vault: where it comes from, how it is made, and who may read it for what."""

    type: str
    origin: tuple[str, ...] = Field(alias="from", min_length=1)
    category: str
    treatment: Treatment
    purposes: tuple[str, ...]
    measure: str = ""
    key: str = ""  # holder of the key that encrypts or tokenises
    domain: str = ""  # of a token; 'key': the id of the holder's key is the token
    note: str = ""

    @property
    def is_keyed(self) -> bool:
        """Whether a key makes it."""
        return self.treatment in (Treatment.ENCRYPT, Treatment.TOKENISE)


class LandedTable(Strict):
    """A table of landing and vault, fed by the named query `sql/pull_<name>.sql`."""

    description: str
    root: bool = False
    term: str = ""  # holder whose key's deadline is the row's: past it, a row may no longer land (K1)
    erased_with: tuple[str, ...] = ()  # holders: once the key of one is destroyed, a row no longer lands
    columns: dict[str, LandedColumn]

    def columns_for(self, purpose: str) -> tuple[str, ...]:
        """The columns that may be read for a purpose."""
        return tuple(name for name, column in self.columns.items() if purpose in column.purposes)


class PublishedColumn(Strict):
    """A column that analysts see: a quasi-identifier, a declared sensitive value, or a count with noise and the ends of
    its interval; there is no other kind."""

    kind: Literal["quasi_identifier", "sensitive", "noisy_count", "bound"]
    origin: str = Field(alias="from")
    level: str
    type: str
    values: tuple[str, ...] = ()  # the only ones that may be published; a level that reads a hierarchy has its values
    bands: dict[str, float] = {}  # of numbers: label -> the least number that it stands for; its values are these
    description: str

    @model_validator(mode="before")
    @classmethod
    def _values_of_bands(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("bands") and not given.get("values"):
            return {**given, "values": (*given["bands"], UNKNOWN)}
        return given

    @model_validator(mode="after")
    def _bands_ascend(self) -> Self:
        bounds = list(self.bands.values())
        if bounds != sorted(set(bounds)):
            raise ValueError(f"bands of level {self.level}: each begins above the one before")
        return self


class Release(Strict):
    """What is published of a dataset; the measures that must hold (k, l) are open values of the policy."""

    table: str
    description: str
    person: str  # the landed column that tells people apart
    precise_by: tuple[str, ...] = ()  # open values that say how precise a release is: a change of one is told (E1)
    columns: dict[str, PublishedColumn]

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the columns of one kind, in their order."""
        return tuple(name for name, column in self.columns.items() if column.kind == kind)

    def facts(self) -> dict[str, tuple[str, ...]]:
        """What each quasi-identifier is made from -> its columns, the finest level first; the day is none of them."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.of_kind("quasi_identifier"):
            origin = self.columns[name].origin
            if origin != "partition":
                found[origin] = (*found.get(origin, ()), name)
        return found

    @property
    def is_noisy(self) -> bool:
        """Whether it holds counts with noise, of which no exact one may stand beside them."""
        return bool(self.of_kind("noisy_count"))


class Dataset(Strict):
    """One pipeline's data: its source tables, what lands, what is published."""

    dataset: str
    description: str
    clauses: tuple[str, ...]
    holders: dict[str, str]  # whose keys the columns are under -> kind of key; see `pulling.scopes`
    source: dict[str, dict[str, SourceColumn]]
    landed: dict[str, LandedTable]
    parameters: dict[str, dict[str, str]] = {}  # tables that a measure looks things up in
    release: Release
    further: tuple[Release, ...] = ()  # what is published with it, in tables of their own

    @property
    def releases(self) -> tuple[Release, ...]:
        """Every table that is published of it."""
        return (self.release, *self.further)

    @property
    def root(self) -> str:
        """The landed table whose rows are counted and conserved."""
        return next(name for name, table in self.landed.items() if table.root)

    @property
    def children(self) -> tuple[str, ...]:
        """The landed tables whose rows belong to a row of the root table, or come along with it."""
        return tuple(name for name, table in self.landed.items() if not table.root)

    @property
    def recipe(self) -> dict[str, Any]:
        """How landed values are made, and which rows may land."""
        made = {"type", "origin", "treatment", "measure", "key", "domain"}
        table = {"term": True, "erased_with": True, "columns": {"__all__": made}}
        parts: Any = {"holders": True, "parameters": True, "landed": {"__all__": table}}
        return self.model_dump(mode="json", include=parts)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        roots = [name for name, table in self.landed.items() if table.root]
        if len(roots) != 1:
            raise ValueError(f"dataset {self.dataset} needs exactly one root table, has {len(roots)}")
        used: set[str] = set()
        for table_name, table in self.landed.items():
            for name, column in table.columns.items():
                for origin in column.origin:
                    used.add(origin)
                    self._check_origin(f"{table_name}.{name}", column, origin)
        idle = sorted(
            f"{table}.{name}"
            for table, columns in self.source.items()
            for name, column in columns.items()
            if column.treatment is not Treatment.REFUSE and f"{table}.{name}" not in used
        )
        if idle:
            raise ValueError(f"columns read for nothing in dataset {self.dataset} (refuse them): {', '.join(idle)}")
        for release in self.releases:
            for name, published in release.columns.items():
                self._check_published(name, published)
        return self

    def _check_published(self, name: str, published: PublishedColumn) -> None:
        if published.origin in ("partition", "source"):  # counted there: nothing of it lands
            return
        table, _, column = published.origin.partition(".")
        if table not in self.landed or column not in self.landed[table].columns:
            raise ValueError(f"published {name} comes from {published.origin}, which does not land")
        landed = self.landed[table].columns[column]
        if published.kind in ("noisy_count", "bound") or landed.treatment is not Treatment.KEEP:
            return
        for origin in landed.origin:
            source_table, _, source_column = origin.partition(".")
            if self.source[source_table][source_column].treatment is Treatment.WITHHOLD:
                raise ValueError(f"published {name} comes from {origin}, which is withheld: readable, never published")

    def references(
        self, purposes: Container[str], clauses: Container[str], kinds: Container[str], values: Container[str]
    ) -> Iterator[tuple[str, str, Container[str]]]:
        """(who, whom, among what) of every name that the dataset uses of the rest of the policy, and of its holders."""
        yield from ((f"dataset {self.dataset}", clause, clauses) for clause in self.clauses)
        yield from ((f"holder {name}", kind, kinds) for name, kind in self.holders.items())
        for release in self.releases:
            yield from ((f"release {release.table}", value, values) for value in release.precise_by)
        for table_name, table in self.landed.items():
            named = [table.term] if table.term else []
            yield from ((f"table {table_name}", holder, self.holders) for holder in (*named, *table.erased_with))
            for name, column in table.columns.items():
                yield from ((f"column {table_name}.{name}", purpose, purposes) for purpose in column.purposes)
                if column.is_keyed:
                    yield f"column {table_name}.{name}", column.key, self.holders

    def _check_origin(self, where: str, column: LandedColumn, origin: str) -> None:
        table, _, name = origin.partition(".")
        source = self.source.get(table, {}).get(name)
        if source is None:
            raise ValueError(f"{where} comes from {origin}, which dataset {self.dataset} does not declare")
        if source.treatment is Treatment.REFUSE:
            raise ValueError(f"{where} comes from {origin}, which is refused")
        guarded = (Treatment.ENCRYPT, Treatment.TOKENISE)
        if source.treatment in guarded and column.treatment not in (*guarded, Treatment.GENERALISE):
            raise ValueError(f"{where} would land {origin} as it is, though its treatment is {source.treatment.value}")
        if column.treatment is Treatment.GENERALISE and not column.measure:
            raise ValueError(f"{where} is generalised by no measure")
        if column.is_keyed != bool(column.key):
            raise ValueError(
                f"{where} names {'no' if column.is_keyed else 'a'} key, its treatment is {column.treatment}"
            )
