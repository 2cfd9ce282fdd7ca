"""The run log: what an entry says, and its canonical bytes (clause R1).

An entry is written for every intent and every outcome of a hop. It holds counts, digests, rule outcomes and who
started the run; never personal data of clients, travellers or visitors. Bytes are canonical JSON (RFC 8785), so that a
digest of an entry is the same everywhere. Its place in the log is given afterwards (log_tree.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import rfc8785

FORMAT = "wellbe-run-log/1"
BY_HAND = "command line"
"""What a run that a person started with a command has instead of a DAG."""


class Outcome(StrEnum):
    """How a hop ended.

    `no_data` is not a pass; `replayed`: its effect was already there; `interrupted` and `skipped` are said afterwards,
    of what was killed and of what never ran.
    """

    PASSED = "passed"
    FAILED = "failed"
    NO_DATA = "no_data"
    REPLAYED = "replayed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Run:
    """Which run, try and person or schedule is behind an entry."""

    dag_id: str
    run_id: str
    task_id: str
    try_number: int
    trigger: str  # scheduled, backfill, manual, asset ...
    triggered_by: str | None = None  # staff account, where a person started it
    map_index: int = -1  # which of a mapped task's instances

    def document(self) -> dict[str, Any]:
        """As it stands in an entry."""
        return {name: value for name, value in vars(self).items() if name != "map_index" or value >= 0}


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what decided: policy files, suite, code."""

    policy: str
    suite: str | None
    code: str


@dataclass(frozen=True)
class RuleOutcome:
    """One rule of a suite on one batch: how many rows it saw and how many failed.

    Ids and values stay in the data plane.
    """

    rule: str
    clause: str
    severity: str
    table: str
    evaluated: int
    failed: int
    outcome: str


@dataclass(frozen=True)
class Reading:
    """Which role reads what, and what for: columns by table, never a value. `of` is the attempt that needs it."""

    role: str
    purpose: str
    columns: Mapping[str, Sequence[str]]
    of: str | None = None

    def document(self) -> dict[str, Any]:
        """As it stands in an entry."""
        columns = {table: sorted(names) for table, names in self.columns.items()}
        return {"role": self.role, "purpose": self.purpose, "columns": columns, "of": self.of}

    @classmethod
    def told(cls, document: Mapping[str, Any]) -> Reading:
        """The inverse of `document`."""
        return cls(**document)


@dataclass(frozen=True)
class Batch:
    """What travels between tasks: names and counts, never a row."""

    dataset: str
    partition_key: str
    run_id: str
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """`dataset bookings, partition 2026-11-16`, for messages."""
        return f"dataset {self.dataset}, partition {self.partition_key}"

    @classmethod
    def joined(cls, shards: Iterable[Batch]) -> Batch:
        """The batch that shards of a partition make: their counts, added up."""
        first, *others = shards
        total = Counter(first.counts)
        for other in others:
            total.update(other.counts)
        return replace(first, counts=dict(total))


@dataclass(frozen=True)
class Shard:
    """Which part of a partition one pull brings: rows whose key has this remainder when it is divided by `of`.

    `landing_id` names the landing that the parts make together: the attempt that planned it.
    """

    dataset: str
    partition_key: str
    landing_id: str
    number: int = 0
    of: int = 1

    @property
    def name(self) -> str:
        """`shard 3 of 4`, for messages."""
        return f"shard {self.number + 1} of {self.of}"


@dataclass(frozen=True)
class Attempt:
    """One try of one hop: what its intent and its outcome have in common."""

    attempt_id: str
    event: str
    batch: Batch
    run: Run
    digests: Digests
    clauses: tuple[str, ...]

    @classmethod
    def told(cls, entry: Mapping[str, Any]) -> Attempt:
        """The attempt that an entry, as the run log has it, belongs to."""
        run, digests = Run(**entry["run"]), Digests(**entry["digests"])
        batch = Batch(entry["dataset"], entry["partition_key"], run.run_id)
        return cls(entry["attempt_id"], entry["event"], batch, run, digests, tuple(entry["clauses"]))

    def intent(self, *, entry_id: str, at: datetime, **facts: Any) -> Entry:
        """The entry that says what is about to be done; `facts` are Entry's own keywords."""
        return Entry(entry_id, "intent", at, self, **facts)

    def outcome(self, outcome: Outcome, *, entry_id: str, at: datetime, **facts: Any) -> Entry:
        """The entry that says how it ended; `facts` are Entry's own keywords."""
        return Entry(entry_id, "outcome", at, self, outcome=outcome, **facts)


@dataclass(frozen=True)
class Entry:
    """An entry of the run log."""

    entry_id: str
    phase: str
    at: datetime
    attempt: Attempt
    outcome: Outcome | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    conservation: Mapping[str, int] = field(default_factory=dict)
    rules: Sequence[RuleOutcome] = ()
    measures: Mapping[str, int | float | None] = field(default_factory=dict)
    alarms: Sequence[str] = ()
    keys: Sequence[str] = ()  # ids of destroyed keys
    reason: str | None = None  # why keys were destroyed, or rows read by a person
    details: Mapping[str, str] = field(default_factory=dict)  # what has no number: a public key, a checkpoint
    reading: Reading | None = None
    error: Mapping[str, str] | None = None

    def canonical(self) -> str:
        """The entry as canonical JSON text (RFC 8785)."""
        run, batch = self.attempt.run, self.attempt.batch
        document = {
            "format": FORMAT,
            "entry_id": self.entry_id,
            "attempt_id": self.attempt.attempt_id,
            "event": self.attempt.event,
            "phase": self.phase,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "dataset": batch.dataset,
            "partition_key": batch.partition_key,
            "run": run.document(),
            "digests": vars(self.attempt.digests),
            "clauses": sorted(self.attempt.clauses),
            "outcome": self.outcome.value if self.outcome else None,
            "counts": dict(self.counts),
            "conservation": dict(self.conservation),
            "rules": [vars(rule) for rule in self.rules],
            "measures": dict(self.measures),
            "alarms": list(self.alarms),
            **({"keys": sorted(self.keys)} if self.keys else {}),
            **({"reason": self.reason} if self.reason else {}),
            **({"details": dict(self.details)} if self.details else {}),
            **({"reading": self.reading.document()} if self.reading else {}),
            "error": dict(self.error) if self.error else None,
        }
        return rfc8785.dumps(document).decode("utf-8")


@dataclass(frozen=True)
class Conservation:
    """The equation of one batch, term by term (rows of the root table).

    at source = dropped by tombstone + pulled; pulled = accepted + quarantined;
    accepted + carried in = published + carried out + suppressed + superseded + erased.
    Rows that a publication holds are carried out, and in by the next one, as are those that were accepted after their
    own partition had been published. Erased are rows of clients who were, and those that retention ended in between.
    """

    at_source: int = 0
    dropped_by_tombstone: int = 0
    pulled: int = 0
    accepted: int = 0
    quarantined: int = 0
    carried_in: int = 0
    published: int = 0
    carried_out: int = 0
    suppressed: int = 0
    superseded: int = 0
    erased: int = 0

    def imbalances(self) -> list[str]:
        """The equations that do not hold, in words; empty when rows are conserved."""
        found = []
        if self.at_source != self.dropped_by_tombstone + self.pulled:
            found.append(
                f"at source {self.at_source} is not dropped by tombstone {self.dropped_by_tombstone} "
                f"+ pulled {self.pulled}"
            )
        if self.pulled != self.accepted + self.quarantined:
            found.append(f"pulled {self.pulled} is not accepted {self.accepted} + quarantined {self.quarantined}")
        left = self.accepted + self.carried_in
        right = self.published + self.carried_out + self.suppressed + self.superseded + self.erased
        if left != right:
            found.append(
                f"accepted {self.accepted} + carried in {self.carried_in} is not published {self.published} "
                f"+ carried out {self.carried_out} + suppressed {self.suppressed} + superseded {self.superseded} "
                f"+ erased {self.erased}"
            )
        return found

    def terms(self) -> dict[str, int]:
        """Every term by name."""
        return dict(vars(self))
