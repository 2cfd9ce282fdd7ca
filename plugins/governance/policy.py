"""Policy as code: what may be done with each value, for which purpose, by whom, and for how long.

The files in `policies/` are read into strict frozen models: an unknown key, a missing one or a reference that leads
nowhere is a `PolicyError`. What the policy text leaves open is a named value with `decided_by`; until the controller
decides, it reads `project default, unconfirmed` and reports list it. The digest of everything read is part of every
run-log entry.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from governance.datasets import Dataset, SourceColumn
from governance.errors import PolicyError
from governance.key_kinds import KeyKind, life
from governance.policy_files import parts
from governance.retention_rules import Retention
from governance.sharing import register as providers
from governance.sharing.allowances import Sharing
from governance.sharing.register import Recipients
from governance.strict import Strict, digest
from governance.third_parties import Register
from governance.third_parties import references as of_third_parties

POLICY_FOLDER = Path(__file__).parent / "policies"
UNCONFIRMED = "project default, unconfirmed"
SOURCE_SCHEMA = "wellbe"
MEASURED_WITH = ("coordinate_grid_degrees",)
"""Open values by which facts are measured."""


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
    taken_by: str | None = None  # nobody logs in as this role: the login that may take it


class Clause(Strict):
    """A clause of the privacy policy and what proves it: code, expectation, evidence (tests name it by marker)."""

    title: str
    must: str
    code: tuple[str, ...] = ()
    expectations: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    not_yet: tuple[str, ...] = ()  # what the clause asks for and this version does not do


class Site(Strict):
    """What a deployment adds: from which partition on its datasets are processed, from how many rows on a partition is
    pulled in shards, one for so many rows, and with which third parties and providers it has an agreement.
    """

    first_partition: dict[str, date] = {}
    shard_rows: Annotated[int, Field(strict=True, gt=0)] = 1_000_000
    third_parties: Register = {}
    recipients: Recipients = {}


class Policy(Strict):
    """Everything in `policies/`, and the site's own file."""

    time_zone: str
    open_values: dict[str, OpenValue]
    purposes: dict[str, Purpose]
    roles: dict[str, Role]
    zones: dict[str, str]
    retention: Retention
    datasets: dict[str, Dataset]
    unpulled: dict[str, dict[str, SourceColumn]]
    lookups: dict[str, dict[str, SourceColumn]]
    keys: dict[str, KeyKind]
    clauses: dict[str, Clause]
    third_parties: Register = {}
    sharing: Sharing = Sharing()
    recipients: Recipients = {}
    site: Site
    digest: str
    texts: dict[str, tuple[str, str]] = {}  # behind the digest: the list of files, and each file, by SHA-256

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        loose = (
            f"{who} names {name!r}, which is not declared" for who, name, of in self._references() if name not in of
        )
        # One after the other: the later checks follow names that the first has found to lead somewhere.
        unsound = providers.unsound(self.all_recipients)
        for problem in chain(loose, self._declared_twice(), self._unsafe_keys(), self._short_ledgers(), unsound):
            raise ValueError(problem)
        return self

    def _references(self) -> Iterator[tuple[str, str, Container[str]]]:
        """(who, whom, among what) of every name that one part of the policy uses of another."""
        for dataset in self.datasets.values():
            yield from dataset.references(self.purposes, self.clauses, self.keys, self.open_values)
        for name, purpose in self.purposes.items():
            yield f"purpose {name}", purpose.role, self.roles
            yield f"purpose {name}", purpose.clause, self.clauses
        for name, value in self.open_values.items():
            yield f"open value {name}", value.clause, self.clauses
        for name, role in self.roles.items():
            zones = self.zones if role.cluster == "warehouse" else (SOURCE_SCHEMA,)
            yield from ((f"role {name}", zone, zones) for zone in role.can_use)
            yield from ((f"role {name}", login, self.roles) for login in (role.taken_by,) if login)
        yield from self.retention.references(self.open_values, self.clauses, self.zones, self.source_tables)
        for name, kind in self.keys.items():
            yield f"kind of key {name}", kind.clause, self.clauses
            yield from ((f"kind of key {name}", value, self.open_values) for value in (kind.term, kind.margin) if value)
            yield from ((f"kind of key {name}", purpose, self.purposes) for purpose in kind.purposes)
            yield from ((f"kind of key {name}", other, self.keys) for other in kind.apart_from)
        published = {release.table for dataset in self.datasets.values() for release in dataset.releases}
        yield from of_third_parties(self.registered, self.purposes, published)
        yield from providers.references(self.all_recipients, self.sharing)
        yield from (("the site's first_partition", name, self.datasets) for name in self.site.first_partition)

    def _declared_twice(self) -> Iterator[str]:
        """A table declared twice would have the treatment of whichever comes last."""
        for kind in ("source", "landed"):
            names = [name for dataset in self.datasets.values() for name in getattr(dataset, kind)]
            names += [*self.unpulled, *self.lookups] if kind == "source" else []
            yield from (f"{kind} table {name} is declared twice" for name in set(names) if names.count(name) > 1)
        both = sorted(self.third_parties.keys() & self.site.third_parties.keys())
        yield from (f"third party {name} is declared twice" for name in both)
        both = sorted(self.recipients.keys() & self.site.recipients.keys())
        yield from (f"recipient {name} is declared twice" for name in both)

    def _unsafe_keys(self) -> Iterator[str]:
        """Kinds of keys that one role could bring together, or that would outlive their term in a backup."""
        for name, kind in self.keys.items():
            for other in kind.apart_from:
                shared = self.key_roles(name) & self.key_roles(other)
                if shared:
                    yield f"keys {name} and {other} must be apart, but {', '.join(sorted(shared))} may use both"
            if self._is_undecided(kind.term, kind.margin, "key_encryption_key_days"):
                continue  # it blocks what needs it, and nothing else
            if kind.margin and float(self.value(kind.margin)) < 0:
                yield f"keys {name} would outlive their term: {kind.margin} is negative"
            lasting = self.key_life(name)
            if kind.is_backed_up and lasting is not None and lasting <= self.key_encryption_key_life:
                yield f"keys {name} die before a backup of the key store expires: shorten key_encryption_key_days"

    def _short_ledgers(self) -> Iterator[str]:
        """What tells rows apart that were published already must outlive them, or they would be published again."""
        rules = self.retention.rules
        for name, rule in rules.items():
            for other in rule.outlives:
                is_decided = not self._is_undecided(rule.term, rules[other].term)
                if is_decided and float(self.value(rule.term)) <= float(self.value(rules[other].term)):
                    yield f"retention rule {name} ends before the rows that it tells apart ({other})"

    def _is_undecided(self, *names: str) -> bool:
        return any(name in self.open_values and self.open_values[name].value is None for name in names)

    def key_roles(self, kind: str) -> set[str]:
        """The database roles whose purposes may use keys of a kind."""
        return {self.purposes[purpose].role for purpose in self.keys[kind].purposes}

    def key_life(self, kind: str) -> timedelta | None:
        """How long after its beginning a key of this kind is destroyed; None when nothing but an act destroys it."""
        spec = self.keys[kind]
        if not spec.term:
            return None
        return life(float(self.value(spec.term)), float(self.value(spec.margin)) if spec.margin else 0.0)

    def key_deadline(self, kind: str, scope: str, created_at: datetime) -> datetime | None:
        """When a key of this kind, for this scope, is destroyed at the latest; None when it has no deadline."""
        lasting = self.key_life(kind)
        return None if lasting is None else self.keys[kind].counted(scope, created_at) + lasting

    @property
    def key_encryption_key_life(self) -> timedelta:
        """After how long the key-encryption key is replaced, and with it every backup of the key store expires."""
        return timedelta(days=float(self.value("key_encryption_key_days")))

    @cached_property
    def source_tables(self) -> dict[str, dict[str, SourceColumn]]:
        """Every declared table of the source, with its columns."""
        tables = self.unpulled | self.lookups
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

    def form(self, name: str) -> str:
        """Digest of how a dataset's rows are made when they land: rows of two forms must not be taken for one."""
        values = {value: self.open_values[value].value for value in MEASURED_WITH if value in self.open_values}
        return digest({"recipe": self.dataset(name).recipe, "values": values})

    @property
    def registered(self) -> Register:
        """Third parties that may have published releases: the policy's, and the site's own."""
        return self.third_parties | self.site.third_parties

    @property
    def all_recipients(self) -> Recipients:
        """Providers that get the bookings which name them: the policy's, and the site's own."""
        return self.recipients | self.site.recipients

    @cached_property
    def access(self) -> str:
        """Digest of what a database's views, rights and comments are made from."""
        return digest(self.model_dump(mode="json", include={"roles", "purposes", "zones", "datasets", "retention"}))

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

    def purpose_of(self, role: str) -> str:
        """The purpose that a role works for. Raises PolicyError when it has none."""
        for name, purpose in self.purposes.items():
            if purpose.role == role:
                return name
        raise PolicyError(f"role {role} works for no purpose; declare one in policies/policy.yaml")

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
        of_site = f" (in {site})" if first["loc"][:1] == ("site",) else ""
        raise PolicyError(
            f"policy is not valid at {where}{of_site}: {first['msg']} ({error.error_count()} problems)"
        ) from None
