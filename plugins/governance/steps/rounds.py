"""What the turns of all recipients have in common within one step of sharing: sessions that stay open, and what was
read once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

from governance import door, log_entries
from governance.kept_open import kept_open
from governance.partitions import Partition
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Run
from governance.sharing import contract_files
from governance.sharing.contracts import Contract
from governance.sharing.eligibility import REVOKING, Reason
from governance.sharing.recipients import Terms
from governance.sharing.register import Recipient
from governance.steps.reading_source import DATASET, Source
from governance.steps.workspace import Workspace

EVENT = "share"
CLAUSES = ("F1", "H1", "I2", "L1", "L2", "N1")
LOG_READER, CLOCK_READER = "sequencer", "coordinator"
NOBODY = 0
"""No provider's number: what names whoever is in the register no more is not looked at."""


@dataclass(frozen=True)
class Holder:
    """A recipient of earlier deliveries, the kind of services that it provides, and its number at the source."""

    recipient_id: str
    kind: str  # 'health' | 'travel'
    provider_id: int = NOBODY

    @property
    def among(self) -> tuple[Reason, ...]:
        """What takes back what it holds."""
        return tuple(reason for reason in REVOKING if self.provider_id != NOBODY or reason is not Reason.NOT_NAMED)


@dataclass
class Round:
    """One step: everybody's turn, one after the other, up to a partition."""

    workspace: Workspace
    partition: Partition
    run: Run
    source: Source
    holders: Sequence[Holder]
    doubts: frozenset[tuple[int, str]] | None = None
    """Bookings, and holders who perhaps may not use them any more; None until somebody has looked (`doubting.py`)."""
    _contracts: dict[tuple[str, str], Contract] = field(default_factory=dict)

    @property
    def batch(self) -> Batch:
        """What entries name."""
        return Batch(DATASET, self.partition.key, self.run.run_id)

    def contract(self, recipient: Recipient) -> Contract:
        """The contract with a recipient, read once for all who have it. Raises ContractError."""
        pinned = recipient.kind, recipient.contract
        if pinned not in self._contracts:
            self._contracts[pinned] = contract_files.load(*pinned, self.workspace.policy.sharing)
        return self._contracts[pinned]

    @cached_property
    def terms(self) -> Terms:
        """What every recipient is measured by."""
        return contract_files.terms(self.workspace.policy)

    @cached_property
    def validated(self) -> frozenset[str]:
        """The partitions that were validated, by the log: what somebody marks in a UI is no record (E24). What is
        validated after this was read waits for the next step."""
        return log_entries.validated(self.workspace.warehouse_dsn(LOG_READER), DATASET)


@contextmanager
def begun(workspace: Workspace, partition: Partition, run: Run, holders: Sequence[Holder]) -> Iterator[Round]:
    """A round, whose sessions end with it."""
    # Reading an identity checks its key, which takes a tenth of a second (RSA, whether its primes are).
    workspace = replace(workspace, identity=cache(workspace.identity))
    source = Source(workspace, Batch(DATASET, partition.key, run.run_id))
    with kept_open(*(workspace.warehouse_dsn(role) for role in (door.RECORDER, LOG_READER, CLOCK_READER))):
        try:
            yield Round(workspace, partition, run, source, holders)
        finally:
            source.close()


def recorded(workspace: Workspace, batch: Batch, run: Run) -> Recorded:
    """A try of sharing up to a partition; its intent is for the caller to write."""
    attempt = Attempt(new_id(), EVENT, batch, run, Digests(workspace.policy.digest, None, code_digest()), CLAUSES)
    dsn = workspace.warehouse_dsn(door.RECORDER)
    return Recorded(attempt, dsn=dsn, clock=workspace.clock, has_intent=False, texts=workspace.policy.texts)
