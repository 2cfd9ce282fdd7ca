"""Whether a clause of the privacy policy is proven: by code, an expectation, a test and evidence that resolve. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

KINDS = ("code", "expectation", "test", "evidence")
"""The four proofs that a clause needs, at least one of each."""


class Standing(StrEnum):
    """How one reference stands."""

    SOUND = "sound"  # it resolves; a test passed, a query returned rows
    UNCHECKED = "unchecked"  # it is there; it was not run here, or there is no site to ask
    EMPTY = "empty"  # a query that returns nothing although the site has releases
    BROKEN = "broken"  # it does not resolve, the query fails, or the test failed


@dataclass(frozen=True)
class Reference:
    """One proof of one clause: which kind, its name, how it stands, and a few words about that."""

    kind: str
    name: str
    standing: Standing
    note: str = ""


@dataclass(frozen=True)
class MarkedTest:
    """A test function that is marked with clauses, and how each of its cases ended here last (None: not run here)."""

    node: str
    clauses: tuple[str, ...]
    outcomes: tuple[str | None, ...]
    last_at: str | None = None

    @property
    def reference(self) -> Reference:
        """As a proof; cases that were not run here do not count against it."""
        known = [outcome for outcome in self.outcomes if outcome]
        if "failed" in known:
            return Reference("test", self.node, Standing.BROKEN, "failed")
        if not known or set(known) == {"skipped"}:
            return Reference("test", self.node, Standing.UNCHECKED, "skipped" if known else "not run here")
        short = "" if len(known) == len(self.outcomes) else f", {len(known)} of {len(self.outcomes)} cases"
        return Reference("test", self.node, Standing.SOUND, f"passed{short}")


@dataclass(frozen=True)
class Answer:
    """What a named query returned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Coverage:
    """The proofs of one clause."""

    clause: str
    references: tuple[Reference, ...]

    def of_kind(self, kind: str) -> tuple[Reference, ...]:
        """The references of one kind, in their order."""
        return tuple(reference for reference in self.references if reference.kind == kind)

    @property
    def missing(self) -> tuple[str, ...]:
        """Kinds of proof of which the clause has none."""
        return tuple(kind for kind in KINDS if not self.of_kind(kind))

    @property
    def is_covered(self) -> bool:
        """Whether there is a proof of each kind and none of them is empty or broken."""
        stands = (Standing.SOUND, Standing.UNCHECKED)
        return not self.missing and all(reference.standing in stands for reference in self.references)

    @property
    def status(self) -> str:
        """`covered`, or `gap`.

        >>> Coverage("M1", ()).status
        'gap'
        """
        return "covered" if self.is_covered else "gap"


def broken(coverages: Iterable[Coverage]) -> list[tuple[str, Reference]]:
    """(clause, reference) of everything that does not resolve, or failed; a gap alone is none of these."""
    return [
        (coverage.clause, reference)
        for coverage in coverages
        for reference in coverage.references
        if reference.standing is Standing.BROKEN
    ]
