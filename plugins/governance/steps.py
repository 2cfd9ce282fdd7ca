"""The use cases: read, call the pure modules, write effect and entry in one transaction.

Airflow, the command line and the tests each bring a `Workspace`; nothing here knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from governance import partitions, sources, validation, warehouse
from governance.errors import ConservationError, ContendedError, PartitionError, ValidationStoppedError
from governance.keys import Keys, fresh_nonces
from governance.partitions import Partition
from governance.policy import Dataset, Policy, suite_digest
from governance.recording import Recorded, code_digest
from governance.run_log import Batch, Conservation, Digests, Entry, Outcome, Run
from governance.warehouse import LandedBatch, Settled, Warehouse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from governance.pulling import Secrets

NEXT_STEP_QUARANTINE = "see `governance quarantine list`"


@dataclass(frozen=True)
class Workspace:
    """What a step needs of the world."""

    policy: Policy
    source_uri: Callable[[], str]
    warehouse_dsn: Callable[[str], str]  # by role
    keys: Callable[[], Keys]
    clock: Callable[[], datetime]
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

    @contextmanager
    def hop(self, event: str, role: str, batch: Batch, run: Run) -> Iterator[tuple[Recorded, Warehouse]]:
        """A recorded try of one hop, with a connection as its role that holds the partition."""
        dsn = self.warehouse_dsn(role)
        spec = self.policy.dataset(batch.dataset)
        suite = validation.load_suite(batch.dataset, self.suites)
        digests = Digests(self.policy.digest, suite_digest(suite), code_digest())
        recorded = Recorded(event, batch, run, dsn=dsn, clock=self.clock, digests=digests, clauses=spec.clauses)
        with recorded, warehouse.connect(dsn) as connection, connection.exclusive(batch):
            yield recorded, connection


# -- pull
# ----------------------------------------------------------------------------------------------------------------


def pull(workspace: Workspace, dataset: str, key: str | None, run: Run) -> Batch:
    """Bring one partition from the source into landing: encrypted, tokenised, measured, counted.

    Raises PartitionError, GapError, SourceUnavailableError, ContendedError, KeyringError, ConservationError; nothing
    is kept then.
    """
    spec = workspace.policy.dataset(dataset)
    batch = Batch(dataset, key or "none", run.run_id)
    with workspace.hop("pull", "loader", batch, run) as (recorded, connection):
        partition = workspace.partition(dataset, key)
        with sources.snapshot(workspace.source_uri(), batch.label) as snapshot:
            sources.check_schema(snapshot.columns(), workspace.policy)
            landing = _Landing(workspace, spec, partition, recorded, snapshot.counts(dataset, partition))
            tables = [(table, landing.stream(snapshot, table)) for table in spec.landed]
            connection.land(batch, partition.day, tables, summary=landing)
    counts = {f"{table}_pulled": rows for table, rows in landing.landed_counts.items()}
    return replace(batch, counts={**counts, **{rule: n for rule, n in landing.refused.items()}})


@dataclass
class _Landing:
    """Streams source batches into landing and counts what passes; a `warehouse.LandingSummary`."""

    workspace: Workspace
    spec: Dataset
    partition: Partition
    recorded: Recorded
    source_counts: dict[str, int]
    landed_counts: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)

    def stream(self, snapshot: sources.Snapshot, table: str) -> Iterator[pa.RecordBatch]:
        """The landing rows of one table, batch by batch."""
        from governance.facts import Parameters
        from governance.pulling import landed

        spec = self.spec.landed[table]
        parameters = Parameters(self.workspace.policy.value("coordinate_grid_degrees"), self.spec.parameters)
        secrets = self._secrets()
        self.landed_counts[table] = 0
        for rows in snapshot.batches(table, self.partition):
            kept = self._within_terms(table, spec.term, rows) if spec.term else rows
            self.landed_counts[table] += kept.num_rows
            yield landed(kept, table, spec, self.partition.day, secrets=secrets, parameters=parameters)

    @property
    def refused(self) -> dict[str, int]:
        """Refusals per rule."""
        rules = [rule for _, _, rule in self.refusals]
        return {rule: rules.count(rule) for rule in sorted(set(rules))}

    def refused_of(self, table: str) -> int:
        """Refusals of one table."""
        return sum(1 for refused_table, _, _ in self.refusals if refused_table == table)

    def entry(self) -> Entry:
        """The outcome entry. Raises ConservationError when a table landed other than the source counted."""
        for table, at_source in self.source_counts.items():
            landed = self.landed_counts.get(table, 0) + self.refused_of(table)
            if landed != at_source:
                raise ConservationError(
                    f"{self.recorded.attempt.batch.label}, table {table}: the source counts {at_source} rows, {landed} arrived; "
                    f"nothing was kept; the task can be run again"
                )
        root = self.spec.root
        conservation = Conservation(at_source=self.source_counts[root], pulled=self.landed_counts[root])
        alarms = [f"{rule}: {count} refused at pull" for rule, count in self.refused.items()]
        return self.recorded.outcome(
            Outcome.PASSED if any(self.landed_counts.values()) else Outcome.NO_DATA,
            counts={f"{table}_at_source": n for table, n in self.source_counts.items()}
            | {f"{table}_pulled": n for table, n in self.landed_counts.items()}
            | {f"refused {rule}": n for rule, n in self.refused.items()},
            conservation=conservation.terms(),
            alarms=alarms,
        )

    def _within_terms(self, table: str, term: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        from governance.pulling import within_terms

        # The real now, never a logical date: a backfill must not take an old card for a fresh one.
        terms = within_terms(rows, now=self.workspace.clock(), days=int(self.workspace.policy.value(term)))
        for rule, keys in terms.refused.items():
            self.refusals.extend((table, key, rule) for key in keys)
        return terms.kept

    def _secrets(self) -> Secrets:
        from governance.pulling import Secrets

        keys = self.workspace.keys()
        return Secrets(
            at_rest=keys.key("at_rest"),
            client_tokens=keys.key("pseudonyms"),
            day_tokens=keys.period_key("visits", self.partition.key),
            nonces=fresh_nonces,
        )


# -- validate
# ------------------------------------------------------------------------------------------------------------


def validate(workspace: Workspace, batch: Batch, run: Run) -> Batch:
    """Run the suite on the landed partition and settle it: failing rows to quarantine, the rest to the vault.

    Raises ValidationStoppedError when a critical rule fails (landing and vault stay as they are), ContendedError when
    another run has landed the partition since.
    """
    spec = workspace.policy.dataset(batch.dataset)
    with workspace.hop("validate", "validator", batch, run) as (recorded, connection):
        partition = workspace.partition(batch.dataset, batch.partition_key)
        state = _landed(connection, batch, partition)
        if state.state == "settled":
            connection.append(recorded.outcome(Outcome.REPLAYED, conservation=_settled_terms(state, spec).terms()))
            return _counted(batch, state.accepted or 0, state.quarantined or 0)
        if state.run_id != batch.run_id:
            raise ContendedError(
                f"{batch.label}: run {state.run_id} has landed this partition since; this run waits for it and retries"
            )
        settled = _settle(workspace, spec, batch, partition, state, recorded, connection)
    return _counted(batch, settled.accepted[spec.root], settled.quarantined[spec.root])


def _settle(
    workspace: Workspace,
    spec: Dataset,
    batch: Batch,
    partition: Partition,
    state: LandedBatch,
    recorded: Recorded,
    connection: Warehouse,
) -> Settled:
    has_rows = any(state.landed_counts.values())
    verdict = validation.Verdict((), ())
    if has_rows:  # zero rows are no data, and Great Expectations would let them pass
        verdict = validation.validate(
            validation.load_suite(batch.dataset, workspace.suites),
            dsn=workspace.warehouse_dsn("validator"),
            partition_key=batch.partition_key,
            expected_rows=_expected_rows(state, spec),
            label=batch.label,
        )
        recorded.facts["rules"] = verdict.rules
        if verdict.stopped_by:
            first = verdict.stopped_by[0]
            names = ", ".join(sorted({rule.rule for rule in verdict.stopped_by}))
            raise ValidationStoppedError(
                f"{batch.label}: critical rules failed: {names} (first on table {first.table}, {first.evaluated} rows seen); nothing was "
                f"settled and the last good state stays; find what changed the rows on their way and run the partition again"
            )

    def entry(settled: Settled) -> Entry:
        root = spec.root
        conservation = replace(
            _settled_terms(state, spec), accepted=settled.accepted[root], quarantined=settled.quarantined[root]
        )
        if conservation.pulled != conservation.accepted + conservation.quarantined:
            raise ConservationError(f"{batch.label}: {'; '.join(conservation.imbalances())}; nothing was settled")
        return recorded.outcome(
            Outcome.PASSED if has_rows else Outcome.NO_DATA,
            counts={f"{table}_accepted": n for table, n in settled.accepted.items()}
            | {f"{table}_quarantined": n for table, n in settled.quarantined.items()},
            conservation=conservation.terms(),
            rules=verdict.rules,
        )

    return connection.settle(batch, partition.day, verdict.findings, entry)


def _expected_rows(state: LandedBatch, spec: Dataset) -> dict[str, int]:
    """Rows that each landed table must have: what the source counted, less what pull refused."""
    refused = sum(state.refused.values())
    expected = dict(state.source_counts)
    for table, landed in spec.landed.items():
        if landed.term:
            expected[table] -= refused
    return expected


def _landed(connection: Warehouse, batch: Batch, partition: Partition) -> LandedBatch:
    state = connection.landed_batch(batch.dataset, partition.day)
    if state is None:
        raise PartitionError(f"{batch.label}: nothing was pulled; run the pull task of this partition first")
    return state


def _settled_terms(state: LandedBatch, spec: Dataset) -> Conservation:
    return Conservation(
        at_source=state.source_counts[spec.root],
        pulled=state.landed_counts[spec.root],
        accepted=state.accepted or 0,
        quarantined=state.quarantined or 0,
    )


def _counted(batch: Batch, accepted: int, quarantined: int) -> Batch:
    return replace(batch, counts={**batch.counts, "accepted": accepted, "quarantined": quarantined})


# -- publish
# -------------------------------------------------------------------------------------------------------------


def missing_predecessor(workspace: Workspace, batch: Batch) -> str | None:
    """The partition that has to be published before this one and is not yet, or None."""
    partition = workspace.partition(batch.dataset, batch.partition_key)
    if partition.day == workspace.policy.first_partition(batch.dataset):
        return None
    before = partition.day - timedelta(days=1)
    with warehouse.connect(workspace.warehouse_dsn("publisher")) as connection:
        return None if connection.is_published(batch.dataset, before) else before.isoformat()


def publish(workspace: Workspace, batch: Batch, run: Run) -> Batch:
    """Publish a partition's release, once: a second call finds it and changes nothing.

    Raises ContendedError while the partition before it is not published, DisclosureError when k or l would not hold.
    """
    spec = workspace.policy.dataset(batch.dataset)
    with workspace.hop("publish", "publisher", batch, run) as (recorded, connection):
        partition = workspace.partition(batch.dataset, batch.partition_key)
        earlier = connection.release(batch.dataset, partition.day)
        if earlier is not None:
            measures = {"k": earlier.k, "l": earlier.l, "rows": earlier.rows, "suppressed": earlier.suppressed}
            connection.append(recorded.outcome(Outcome.REPLAYED, measures=measures))
            return replace(batch, counts={**batch.counts, "published": earlier.rows, "suppressed": earlier.suppressed})
        missing = missing_predecessor(workspace, batch)
        if missing:
            raise ContendedError(f"{batch.label}: partition {missing} has to be published first; the task retries")
        state = _landed(connection, batch, partition)
        if state.state != "settled":
            raise ContendedError(
                f"{batch.label}: run {state.run_id} has landed it again and not settled it; the task retries"
            )
        conservation = _publish(workspace, spec, batch, partition, state, recorded, connection)
    return replace(
        batch, counts={**batch.counts, "published": conservation.published, "suppressed": conservation.suppressed}
    )


def _publish(
    workspace: Workspace,
    spec: Dataset,
    batch: Batch,
    partition: Partition,
    state: LandedBatch,
    recorded: Recorded,
    connection: Warehouse,
) -> Conservation:
    accepted = _in_clear(workspace, batch.dataset, connection.undecided(batch.dataset, partition.day))
    release = _release(workspace, spec, accepted, partition)
    own = int((accepted["partition_key"] == partition.day).sum())
    conservation = replace(
        _settled_terms(state, spec),
        carried_in=len(accepted) - own,
        published=release.decided("published"),
        suppressed=release.decided("suppressed"),
        superseded=release.decided("superseded"),
    )
    problems = conservation.imbalances()
    if problems or own != conservation.accepted:
        problems.append(f"the vault holds {own} rows of the partition, {conservation.accepted} were accepted")
        raise ConservationError(f"{batch.label}: {'; '.join(problems)}; nothing was published")
    published = warehouse.Published(
        rows=conservation.published, suppressed=conservation.suppressed, k=release.risk.k, l=release.risk.l
    )
    entry = recorded.outcome(
        Outcome.PASSED if len(accepted) else Outcome.NO_DATA,
        counts={"table_rows": len(release.rows)},
        conservation=conservation.terms(),
        measures={"k": release.risk.k, "l": release.risk.l},
    )
    connection.publish(batch, partition.day, spec.release.table, release.rows, release.decisions, published, entry)
    return conservation


def _in_clear(workspace: Workspace, dataset: str, rows: pa.Table) -> pd.DataFrame:
    """Accepted rows as a frame; the procedure, encrypted at rest, is opened here and nowhere else, to be generalised at once."""
    from governance.encryption import Column, decrypt

    if dataset == "bookings":
        keys = workspace.keys()
        has_service = rows["service_row_key"].is_valid()
        row_keys = rows["service_row_key"].fill_null("")
        opened = decrypt(
            rows["procedure_code_encrypted"],
            row_keys,
            key_of=keys.by_id,
            column=Column("booking_services", "procedure_code_encrypted"),
        )
        assert len(opened) == len(has_service)
        rows = rows.drop_columns(["procedure_code_encrypted"]).append_column("procedure_code", opened)
    return rows.to_pandas()


def _release(workspace: Workspace, spec: Dataset, accepted: pd.DataFrame, partition: Partition):  # type: ignore[no-untyped-def]
    from governance.anonymisation import releases

    k = int(workspace.policy.value("k"))
    if spec.dataset == "bookings":
        return releases.bookings(accepted, spec.release, partition.day, k=k, l=int(workspace.policy.value("l")))
    limit = int(workspace.policy.value("visitor_daily_views"))
    return releases.visits(accepted, spec.release, partition.day, k=k, limit=limit)
