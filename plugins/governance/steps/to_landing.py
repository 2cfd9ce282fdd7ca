"""The first hop: one partition from the source into landing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from governance import sources
from governance.errors import ConservationError
from governance.keys import fresh_nonces
from governance.run_log import Batch, Conservation, Entry, Outcome, Run
from governance.steps.workspace import Hop, Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from governance.pulling import Secrets


def pull(workspace: Workspace, dataset: str, key: str | None, run: Run) -> Batch:
    """Bring one partition from the source into landing: encrypted, tokenised, measured, counted.

    Raises PartitionError, GapError, SourceUnavailableError, ContendedError, KeyringError, ConservationError; nothing
    is kept then.
    """
    batch = Batch(dataset, key or "none", run.run_id)
    with workspace.hop("pull", "loader", batch, run) as hop:
        partition = hop.partition
        with sources.snapshot(workspace.source_uri(), batch.label) as snapshot:
            sources.check_schema(snapshot.columns(), workspace.policy)
            landing = _Landing(hop, snapshot.counts(dataset, partition))
            tables = [(table, landing.stream(snapshot, table)) for table in hop.spec.landed]
            hop.warehouse.land(batch, partition.day, tables, summary=landing)
    counts = {f"{table}_pulled": rows for table, rows in landing.landed_counts.items()}
    return replace(batch, counts={**counts, **landing.refused})


@dataclass
class _Landing:
    """Streams source batches into landing and counts what passes; a `warehouse.LandingSummary`."""

    hop: Hop
    source_counts: dict[str, int]
    landed_counts: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)

    def stream(self, snapshot: sources.Snapshot, table: str) -> Iterator[pa.RecordBatch]:
        """The landing rows of one table, batch by batch."""
        from governance.facts import Parameters
        from governance.pulling import Means, landed

        spec, policy = self.hop.spec.landed[table], self.hop.workspace.policy
        parameters = Parameters(policy.value("coordinate_grid_degrees"), self.hop.spec.parameters)
        means = Means(self._secrets(), parameters)
        self.landed_counts[table] = 0
        for rows in snapshot.batches(table, self.hop.partition):
            kept = self._within_terms(table, spec.term, rows) if spec.term else rows
            self.landed_counts[table] += kept.num_rows
            yield landed(kept, table, spec, self.hop.partition.day, means)

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
                    f"{self.hop.recorded.attempt.batch.label}, table {table}: the source counts {at_source} rows, "
                    f"{landed} arrived; nothing was kept; the task can be run again"
                )
        root = self.hop.spec.root
        conservation = Conservation(at_source=self.source_counts[root], pulled=self.landed_counts[root])
        alarms = [f"{rule}: {count} refused at pull" for rule, count in self.refused.items()]
        return self.hop.recorded.outcome(
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
        terms = within_terms(rows, now=self.hop.workspace.clock(), days=int(self.hop.workspace.policy.value(term)))
        for rule, keys in terms.refused.items():
            self.refusals.extend((table, key, rule) for key in keys)
        return terms.kept

    def _secrets(self) -> Secrets:
        from governance.pulling import Secrets

        keys = self.hop.workspace.keys()
        return Secrets(
            at_rest=keys.key("at_rest"),
            client_tokens=keys.key("pseudonyms"),
            day_tokens=keys.period_key("visits", self.hop.partition.key),
            nonces=fresh_nonces,
        )
