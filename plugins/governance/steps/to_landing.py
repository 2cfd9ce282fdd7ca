"""The first hop: one partition from the source into landing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from governance import sources
from governance.errors import ConservationError, GovernanceError, PolicyError, shown
from governance.partitions import Partition
from governance.run_log import Batch, Conservation, Entry, Outcome, Run
from governance.steps.workspace import Hop, Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from governance.encryption import RowKeys
    from governance.keys import Keys


LATE_DAYS = 7
"""How many partitions before this one are looked at for rows that came late."""


def pull(workspace: Workspace, dataset: str, key: str | None, run: Run) -> Batch:
    """Bring one partition from the source into landing: encrypted, tokenised, measured, counted.

    Raises PartitionError, GapError, SourceUnavailableError, ContendedError, KeyringError, ConservationError; nothing
    is kept then.
    """
    batch = Batch(dataset, shown(key or "none"), run.run_id)
    with workspace.hop("pull", "loader", batch, run) as hop:
        partition = hop.partition
        with sources.snapshot(workspace.source_uri(), batch.label) as snapshot:
            sources.check_schema(snapshot.columns(), workspace.policy, batch.label)
            landing = _Landing(hop, snapshot.counts(dataset, partition), _missed(hop, snapshot))
            tables = [(table, landing.stream(snapshot, table)) for table in hop.spec.landed]
            hop.warehouse.land(batch, partition.day, tables, summary=landing)
    counts = {f"{table}_pulled": rows for table, rows in landing.landed_counts.items()}
    return replace(batch, counts={**counts, **landing.refused})


def _missed(hop: Hop, snapshot: sources.Snapshot) -> list[str]:
    """Alarms about rows that no pull has brought: they came after their partition's, or are recorded in no day yet."""
    dataset, today = hop.batch.dataset, hop.partition
    alarms = [
        f"R1 {rows} rows of {table} are recorded at no instant that has been, so no partition brings them; "
        f"correct recorded_at at the source"
        for table, rows in snapshot.unreached(dataset).items()
        if rows
    ]
    for back in range(1, min(LATE_DAYS, today.day.toordinal() - 1) + 1):
        partition = Partition(today.day - timedelta(days=back), today.time_zone)
        pulled = hop.warehouse.landed_batch(dataset, partition.day)
        if pulled is None:
            continue
        for table, rows in snapshot.counts(dataset, partition).items():
            more = rows - pulled.source_counts.get(table, 0)
            if more > 0:
                alarms.append(
                    f"R1 partition {partition.key}: {more} rows of {table} came to the source after it was pulled; "
                    f"bring them with `governance quarantine replay --dataset {dataset} --partition {partition.key}`"
                )
    return alarms


@dataclass
class _Landing:
    """Streams source batches into landing and counts what passes; a `warehouse.LandingSummary`."""

    hop: Hop
    source_counts: dict[str, int]
    missed: list[str]
    landed_counts: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)

    def stream(self, snapshot: sources.Snapshot, table: str) -> Iterator[pa.RecordBatch]:
        """The landing rows of one table, batch by batch."""
        from governance.facts import Parameters
        from governance.pulling import Means, landed

        spec, policy, keys = self.hop.spec.landed[table], self.hop.workspace.policy, self.hop.keys("intake")
        parameters = Parameters(policy.value("coordinate_grid_degrees"), self.hop.spec.parameters)
        self.landed_counts[table] = self.dropped[table] = 0
        for rows in snapshot.batches(table, self.hop.partition):
            self._require_keys(table, rows)
            timely = self._within_terms(table, spec.term, rows) if spec.term else rows
            kept = self._without_erased(table, spec.erased_with, timely, keys)
            self.landed_counts[table] += kept.num_rows
            holders = {column.key for column in spec.columns.values() if column.key}
            held = {holder: self._keys_of(kept, table, holder, keys) for holder in holders}
            yield landed(kept, table, spec, self.hop.partition.day, Means(held, keys.nonces, parameters))

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
            landed = self.landed_counts.get(table, 0) + self.refused_of(table) + self.dropped.get(table, 0)
            if landed != at_source:
                raise ConservationError(
                    f"{self.hop.recorded.attempt.batch.label}, table {table}: the source counts {at_source} rows, "
                    f"{landed} arrived; nothing was kept; the task can be run again"
                )
        root = self.hop.spec.root
        conservation = Conservation(
            at_source=self.source_counts[root],
            dropped_by_tombstone=self.dropped[root],
            pulled=self.landed_counts[root],
        )
        alarms = [f"{rule}: {count} refused at pull" for rule, count in self.refused.items()] + self.missed
        return self.hop.recorded.outcome(
            Outcome.PASSED if any(self.landed_counts.values()) else Outcome.NO_DATA,
            counts={f"{table}_at_source": n for table, n in self.source_counts.items()}
            | {f"{table}_pulled": n for table, n in self.landed_counts.items()}
            | {f"{table}_dropped_by_tombstone": n for table, n in self.dropped.items() if n}
            | {f"refused {rule}": n for rule, n in self.refused.items()},
            conservation=conservation.terms(),
            alarms=alarms,
        )

    def _require_keys(self, table: str, rows: pa.RecordBatch) -> None:
        unnamed = rows["row_key"].null_count
        if unnamed:  # a row that has no name can neither be bound to its ciphertexts nor be listed in quarantine
            columns = ", ".join(self.hop.spec.landed[table].columns["row_key"].origin)
            raise GovernanceError(
                f"{self.hop.batch.label}, table {table}: {unnamed} rows have no key (NULL in {columns}); nothing was "
                f"kept; give them their key at the source and run the partition again"
            )

    def _within_terms(self, table: str, holder: str, rows: pa.RecordBatch) -> pa.RecordBatch:
        from governance.pulling import within_terms

        policy = self.hop.workspace.policy
        kind = self.hop.spec.holders[holder]
        life = policy.key_life(kind)
        if life is None:
            raise PolicyError(f"table {table} has its term from keys of kind {kind}, which have none")
        # The real now, never a logical date: a backfill must not take an old card for a fresh one.
        terms = within_terms(rows, now=self.hop.workspace.clock(), life=life)
        for rule, keys in terms.refused.items():
            self.refusals.extend((table, key, rule) for key in keys)
        return terms.kept

    def _without_erased(self, table: str, holders: tuple[str, ...], rows: pa.RecordBatch, keys: Keys) -> pa.RecordBatch:
        """Rows of nobody whose key was destroyed: what is left of the key is the tombstone (E09)."""
        import numpy as np
        import pyarrow as pa

        erased = np.zeros(rows.num_rows, bool)
        for holder in holders:
            kind = self.hop.spec.holders[holder]
            erased |= keys.destroyed(kind, self._scopes(rows, table, holder))
        self.dropped[table] += int(erased.sum())
        return rows.filter(pa.array(~erased)) if erased.any() else rows

    def _keys_of(self, rows: pa.RecordBatch, table: str, holder: str, keys: Keys) -> RowKeys:
        from governance.encryption import RowKeys

        kind = self.hop.spec.holders[holder]
        if self.hop.workspace.policy.keys[kind].scope == "day":
            return RowKeys.same(keys.key(kind, self.hop.partition.key), rows.num_rows)
        return keys.sealing(kind, self._scopes(rows, table, holder))

    def _scopes(self, rows: pa.RecordBatch, table: str, holder: str) -> pa.Array:
        from governance.pulling import scopes

        kind = self.hop.workspace.policy.keys[self.hop.spec.holders[holder]]
        return scopes(rows, table, holder, kind, self.hop.partition.day)
