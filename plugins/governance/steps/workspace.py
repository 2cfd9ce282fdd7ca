"""What a step needs of the world, and what one try of a hop has at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from governance import door, partitions, schema, validation, warehouse
from governance.datasets import Dataset
from governance.errors import ClockError, PartitionError
from governance.keys import Keys, KeyService
from governance.partitions import Partition
from governance.policy import Policy
from governance.recording import Recorded, code_digest, new_id
from governance.rules import suite_digest, suite_text
from governance.run_log import Attempt, Batch, Conservation, Digests, Run, Shard
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.identities import Identity
from governance.sharing.outbox import Outbox
from governance.signers import CheckpointFolder, Signers
from governance.sources import Snapshot
from governance.warehouse import LandedBatch, Warehouse


@dataclass(frozen=True)
class Workspace:
    """What a step needs of the world."""

    policy: Policy
    source_uri: Callable[[], str]
    source_retention_dsn: Callable[[], str]
    warehouse_dsn: Callable[[str], str]  # by role
    keys: Callable[[], KeyService]
    clock: Callable[[], datetime]
    database_clock: Callable[[], datetime]  # our database's, which is another machine's in production
    signers: Callable[[], Signers]
    checkpoints: Callable[[], CheckpointFolder]
    airflow_dsn: Callable[[], str]  # of the observer, who reads Airflow's tables
    identity: Callable[[], Identity]  # that signs deliveries
    certificates: Callable[[], CertificateFolder]  # of recipients
    outbox: Callable[[str, str], Outbox]  # of a recipient, at an endpoint
    source_clock: Callable[[Snapshot], datetime] = Snapshot.clock
    suites: Path = validation.SUITE_FOLDER

    def partition(self, dataset: str, key: str | None) -> Partition:
        """The partition that a key names. Raises PartitionError."""
        return partitions.parse(
            key,
            time_zone=self.policy.time_zone,
            dataset=dataset,
            first=self.policy.first_partition(dataset),
            now=self.clock(),
        )

    def newest_partition(self) -> str:
        """The partition key of the last day that is over, for runs that have none of their own."""
        today = self.clock().astimezone(ZoneInfo(self.policy.time_zone)).date()
        return (today - timedelta(days=1)).isoformat()

    def instant(self) -> datetime:
        """The instant that has come by this machine's clock and by the database's: what is ended does not come back.

        Raises WarehouseUnavailableError.
        """
        return min(self.clock(), self.database_clock()) if self.apart() else self.clock()

    def apart(self) -> str | None:
        """How far this machine's clock is from the database's, in words; None while policy tolerates it.

        Raises WarehouseUnavailableError.
        """
        return self._apart(self.database_clock(), "our database's")

    def _apart(self, theirs: datetime, whose: str) -> str | None:
        apart = self.clock() - theirs
        if abs(apart) <= timedelta(minutes=float(self.policy.value("clock_tolerance_minutes"))):
            return None
        minutes = f"{abs(apart) / timedelta(minutes=1):,.0f} minutes"
        side = "ahead of" if apart > timedelta(0) else "behind"
        return f"this machine's clock is {minutes} {side} {whose}; set right the one that is wrong"

    def require_one_time(self, batch: Batch) -> None:
        """Raise ClockError when this machine's clock is far from the database's."""
        self._refuse(self.apart(), batch, "ages, days and deadlines would be wrong")

    def require_one_time_with(self, source: Snapshot, batch: Batch) -> datetime:
        """What time it is by the source's clock, which says when a row was recorded. Raises ClockError when that of
        this machine is far from it."""
        now = self.source_clock(source)
        self._refuse(
            self._apart(now, "the source's"), batch, "rows of a day that is over here might still be on their way"
        )
        return now

    def _refuse(self, apart: str | None, batch: Batch, why: str) -> None:
        if apart:
            raise ClockError(f"{batch.label}: {apart}; nothing was done, because {why}; the task retries")

    @contextmanager
    def hop(self, event: str, role: str, batch: Batch, run: Run, shard: Shard | None = None) -> Iterator[Hop]:
        """A recorded try of one hop, with a connection as its role that holds the partition, or a shard of it.

        Raises ContendedError when another run holds it, WarehouseUnavailableError when there is no server, ClockError
        when this machine and the database disagree about the time, OutdatedError when the database's views and rights
        are those of another policy or version.
        """
        spec = self.policy.dataset(batch.dataset)
        with ExitStack() as stack:
            recorded = stack.enter_context(self.recorded(event, batch, run))
            self.require_one_time(batch)
            lent = stack.enter_context(door.lent(self, recorded.attempt, role, self._read_by(role, spec)))
            connection = stack.enter_context(warehouse.connect(lent.dsn, batch.label))
            schema.require(connection, self.policy, batch.label)
            stack.enter_context(connection.exclusive(batch, shard))
            hop = Hop(self, spec, batch, recorded, connection, role, lent)
            try:
                yield hop
            finally:
                hop.let_go()

    def recorded(self, event: str, batch: Batch, run: Run) -> Recorded:
        """A try of something that is done with a batch, to be entered as a context."""
        spec = self.policy.dataset(batch.dataset)
        suite = validation.load_suite(batch.dataset, self.suites)
        digest = suite_digest(suite)
        digests = Digests(self.policy.digest, digest, code_digest())
        texts = self.policy.texts | {digest: (f"suite {batch.dataset}", suite_text(suite))}
        attempt = Attempt(new_id(), event, batch, run, digests, spec.clauses)
        return Recorded(attempt, dsn=self.warehouse_dsn(door.RECORDER), clock=self.clock, texts=texts)

    def _read_by(self, role: str, spec: Dataset) -> dict[str, list[str]]:
        """The columns that a role reads in a hop of a dataset: what its purpose may read of it, table by table."""
        zone = {"validator": "landing", "publisher": "vault"}.get(role)
        if zone is None:
            return {}
        purpose = self.policy.purpose_of(role)
        columns = {f"{zone}.{name}": table.columns_for(purpose) for name, table in spec.landed.items()}
        if role == "publisher":
            columns["vault.release_ledger"] = (
                "dataset",
                "accepted_partition",
                "decision",
                "release_partition",
                "row_key",
            )
            if not spec.release.is_noisy:
                columns["vault.release_people"] = ("person", "signature")
        return {table: sorted(names) for table, names in columns.items() if names}


@dataclass(frozen=True)
class Hop:
    """One try of one hop of one batch."""

    workspace: Workspace
    spec: Dataset
    batch: Batch
    recorded: Recorded
    warehouse: Warehouse
    role: str
    lent: door.Lent

    def keys(self, purpose: str) -> Keys:
        """The keys that this hop's role may use for a purpose; what it may not use is refused and recorded (J2)."""
        return self._key_service.acting(self.role, purpose, self.recorded.refused)

    def ids_of(self, kind: str, scopes: Iterable[str]) -> list[bytes]:
        """The ids of keys for scopes, whether there are any: what tokens of kind `key` are made of. Opens none."""
        return [self._key_service.id_of(kind, scope) for scope in scopes]

    def destroyed_since(self, since: datetime) -> list[bytes]:
        """The ids of all keys that were destroyed since an instant, of whatever kind."""
        store = self._key_service.store
        acts = [act.attempt_id for act in store.acts() if act.destroyed_at >= since.timestamp()]
        return [key.id for act in acts for key in store.destroyed_by(act)]

    @cached_property
    def _key_service(self) -> KeyService:
        return self.workspace.keys()

    def let_go(self) -> None:
        """Close the key store, if it was opened."""
        if "_key_service" in self.__dict__:
            self._key_service.close()

    @cached_property
    def partition(self) -> Partition:
        """The batch's partition. Raises PartitionError."""
        # A pull without a partition has a batch that is named 'none'; it must not be taken for a day.
        key = None if self.batch.partition_key == "none" else self.batch.partition_key
        return self.workspace.partition(self.batch.dataset, key)

    def landed(self) -> LandedBatch:
        """State of the batch in landing. Raises PartitionError when it was never pulled."""
        state = self.warehouse.landed_batch(self.batch.dataset, self.partition.day)
        if state is None:
            raise PartitionError(f"{self.batch.label}: nothing was pulled; run the pull task of this partition first")
        return state

    def require_form(self, state: LandedBatch) -> None:
        """Raise PolicyError when the batch was landed while policy said otherwise how its rows are made."""
        self.warehouse.require_form(state.form, self.workspace.policy.form(self.batch.dataset))

    def conservation(self, state: LandedBatch) -> Conservation:
        """The equation as far as landing and settlement have come."""
        return Conservation(
            at_source=state.source_counts[self.spec.root],
            dropped_by_tombstone=state.dropped.get(self.spec.root, 0),
            pulled=state.landed_counts[self.spec.root],
            accepted=state.accepted or 0,
            quarantined=state.quarantined or 0,
        )
