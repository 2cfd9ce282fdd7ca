"""Policy as code: what may be done with each value, for which purpose, by whom, and for how long.

The files in `policies/` are read into strict frozen models: an unknown key, a missing one or a reference that leads
nowhere is a `PolicyError`. What the policy text leaves open is a named value with `decided_by`; until the controller
decides, it reads `project default, unconfirmed` and reports list it. The digest of everything read is part of every
run-log entry.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from governance.errors import PolicyError
from governance.policy_files import parts

POLICY_FOLDER = Path(__file__).parent / "policies"
UNCONFIRMED = "project default, unconfirmed"
SOURCE_SCHEMA = "wellbe"


class Treatment(StrEnum):
    """What happens to a value on its way in (GDPR Art. 5(1)(c), (e), (f))."""

    REFUSE = "refuse"  # never read
    ENCRYPT = "encrypt"  # at rest, from before it reaches our database
    WITHHOLD = "withhold"  # readable in the vault by its purposes, never published
    TOKENISE = "tokenise"  # keyed pseudonym
    GENERALISE = "generalise"  # a measured or coarser fact
    KEEP = "keep"


class Strict(BaseModel):
    """Frozen, and no key that the model does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    domain: str = ""  # of a token
    note: str = ""


class LandedTable(Strict):
    """A table of landing and vault, fed by the named query `sql/pull_<name>.sql`."""

    description: str
    root: bool = False
    term: str = ""  # name of the open value that says after how many days a row may no longer land (K1)
    columns: dict[str, LandedColumn]

    def columns_for(self, purpose: str) -> tuple[str, ...]:
        """The columns that may be read for a purpose."""
        return tuple(name for name, column in self.columns.items() if purpose in column.purposes)


class PublishedColumn(Strict):
    """A column that analysts see: a quasi-identifier or a declared sensitive value; there is no third kind."""

    kind: Literal["quasi_identifier", "sensitive", "count"]
    origin: str = Field(alias="from")
    level: str
    type: str
    values: tuple[str, ...] = ()  # the only ones that may be published; a level that reads a hierarchy has its values
    description: str


class Release(Strict):
    """What is published of a dataset; the measures that must hold (k, l) are open values of the policy."""

    table: str
    description: str
    person: str  # the landed column that tells people apart
    columns: dict[str, PublishedColumn]

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the columns of one kind, in their order."""
        return tuple(name for name, column in self.columns.items() if column.kind == kind)


class Dataset(Strict):
    """One pipeline's data: its source tables, what lands, what is published."""

    dataset: str
    description: str
    clauses: tuple[str, ...]
    source: dict[str, dict[str, SourceColumn]]
    landed: dict[str, LandedTable]
    parameters: dict[str, dict[str, str]] = {}  # tables that a measure looks things up in
    release: Release

    @property
    def root(self) -> str:
        """The landed table whose rows are counted and conserved."""
        return next(name for name, table in self.landed.items() if table.root)

    @property
    def children(self) -> tuple[str, ...]:
        """The landed tables whose rows belong to a row of the root table, or come along with it."""
        return tuple(name for name, table in self.landed.items() if not table.root)

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
        for name, published in self.release.columns.items():
            self._check_published(name, published)
        return self

    def _check_published(self, name: str, published: PublishedColumn) -> None:
        if published.origin == "partition":
            return
        table, _, column = published.origin.partition(".")
        if table not in self.landed or column not in self.landed[table].columns:
            raise ValueError(f"published {name} comes from {published.origin}, which does not land")
        landed = self.landed[table].columns[column]
        if published.kind == "count" or landed.treatment is not Treatment.KEEP:
            return
        for origin in landed.origin:
            source_table, _, source_column = origin.partition(".")
            if self.source[source_table][source_column].treatment is Treatment.WITHHOLD:
                raise ValueError(f"published {name} comes from {origin}, which is withheld: readable, never published")

    def references(
        self, purposes: Container[str], clauses: Container[str], open_values: Container[str]
    ) -> Iterator[tuple[str, str, Container[str]]]:
        """(who, whom, among what) of every name that the dataset uses of the rest of the policy."""
        yield from ((f"dataset {self.dataset}", clause, clauses) for clause in self.clauses)
        for table_name, table in self.landed.items():
            if table.term:
                yield f"table {table_name}", table.term, open_values
            for name, column in table.columns.items():
                yield from ((f"column {table_name}.{name}", purpose, purposes) for purpose in column.purposes)

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


class OpenValue(Strict):
    """A value that the policy text leaves open, and who decided it."""

    value: Any
    clause: str
    decided_by: str
    decided_at: date | None = None
    rationale: str

    @property
    def is_confirmed(self) -> bool:
        """Whether the controller has decided."""
        return self.decided_by != UNCONFIRMED


class Purpose(Strict):
    """A purpose of processing: fideslang data use, clause, and the database role that works for it."""

    description: str
    data_use: str
    clause: str
    role: str


class Role(Strict):
    """A database role: which zones it may touch, and how."""

    description: str
    cluster: Literal["source", "warehouse"]
    can_use: tuple[str, ...] = ()  # zones (schemas)


class Retention(Strict):
    """How long a zone keeps its rows; executed by the retention pipeline, shown by reports."""

    zone: str
    days: int | None
    clause: str
    rationale: str


class Clause(Strict):
    """A clause of the privacy policy and what proves it: code, expectation, evidence (tests name it by marker)."""

    title: str
    must: str
    code: tuple[str, ...] = ()
    expectations: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    not_yet: tuple[str, ...] = ()  # what the clause asks for and this version does not do


class Site(Strict):
    """What a deployment adds: from which partition on its datasets are processed."""

    first_partition: dict[str, date] = {}


class Policy(Strict):
    """Everything in `policies/`, and the site's own file."""

    time_zone: str
    open_values: dict[str, OpenValue]
    purposes: dict[str, Purpose]
    roles: dict[str, Role]
    zones: dict[str, str]
    retention: tuple[Retention, ...]
    datasets: dict[str, Dataset]
    unpulled: dict[str, dict[str, SourceColumn]]
    clauses: dict[str, Clause]
    site: Site
    digest: str

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        loose = (
            f"{who} names {name!r}, which is not declared" for who, name, of in self._references() if name not in of
        )
        for problem in (*loose, *self._declared_twice()):
            raise ValueError(problem)
        return self

    def _references(self) -> Iterator[tuple[str, str, Container[str]]]:
        """(who, whom, among what) of every name that one part of the policy uses of another."""
        for dataset in self.datasets.values():
            yield from dataset.references(self.purposes, self.clauses, self.open_values)
        for name, purpose in self.purposes.items():
            yield f"purpose {name}", purpose.role, self.roles
            yield f"purpose {name}", purpose.clause, self.clauses
        for name, value in self.open_values.items():
            yield f"open value {name}", value.clause, self.clauses
        for name, role in self.roles.items():
            zones = self.zones if role.cluster == "warehouse" else (SOURCE_SCHEMA,)
            yield from ((f"role {name}", zone, zones) for zone in role.can_use)
        for retention in self.retention:
            yield "retention", retention.zone, self.zones
            yield f"retention of {retention.zone}", retention.clause, self.clauses
        yield from (("the site's first_partition", name, self.datasets) for name in self.site.first_partition)

    def _declared_twice(self) -> Iterator[str]:
        """A table declared twice would have the treatment of whichever comes last."""
        for kind in ("source", "landed"):
            names = [name for dataset in self.datasets.values() for name in getattr(dataset, kind)]
            names += list(self.unpulled) if kind == "source" else []
            yield from (f"{kind} table {name} is declared twice" for name in set(names) if names.count(name) > 1)

    @cached_property
    def source_tables(self) -> dict[str, dict[str, SourceColumn]]:
        """Every declared table of the source, with its columns."""
        tables = dict(self.unpulled)
        for dataset in self.datasets.values():
            tables.update(dataset.source)
        return tables

    def value(self, name: str) -> Any:
        """The value of a named decision that the policy text leaves open.

        Raises PolicyError when nobody has set it: what needs it must not run.
        """
        if name not in self.open_values or self.open_values[name].value is None:
            raise PolicyError(f"policy value {name!r} is not set; decide it in policies/policy.yaml before this runs")
        return self.open_values[name].value

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name. Raises PolicyError when there is none."""
        if name not in self.datasets:
            raise PolicyError(f"no dataset {name!r} in policies/; there are {', '.join(sorted(self.datasets))}")
        return self.datasets[name]

    def first_partition(self, dataset: str) -> date:
        """The first partition of a dataset; publication runs in order from it.

        Raises PolicyError when neither the site's file nor the policy sets it.
        """
        if dataset in self.site.first_partition:
            return self.site.first_partition[dataset]
        by_dataset = self.value("first_partition")
        if dataset not in by_dataset:
            raise PolicyError(
                f"dataset {dataset} has no first_partition; set it in policies/policy.yaml or the site's file"
            )
        return date.fromisoformat(str(by_dataset[dataset]))

    def readable_columns(self, role: str) -> Iterator[tuple[str, str]]:
        """(table, column) of the vault that a role may read, for the purposes it works for."""
        purposes = {name for name, purpose in self.purposes.items() if purpose.role == role}
        for dataset in self.datasets.values():
            for table_name, table in dataset.landed.items():
                for name, column in table.columns.items():
                    if purposes & set(column.purposes):
                        yield table_name, name


def load(folder: Path = POLICY_FOLDER, site: Path | None = None) -> Policy:
    """Read a policy folder, and the site's file where there is one.

    Returns the policy with the SHA-256 over its files in `digest`. Raises PolicyError naming file and key.
    """
    try:
        return Policy.model_validate(parts(folder, site))
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(str(step) for step in first["loc"])
        raise PolicyError(f"policy is not valid at {where}: {first['msg']} ({error.error_count()} problems)") from None
