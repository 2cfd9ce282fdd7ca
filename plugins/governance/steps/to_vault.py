"""The second hop: the suite on the landed partition, then settlement into vault and quarantine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from governance import validation
from governance.datasets import Dataset
from governance.errors import ConservationError, ContendedError, ValidationStoppedError
from governance.run_log import Batch, Entry, Outcome, Run
from governance.settlements import Settled
from governance.steps.workspace import Hop, Workspace
from governance.warehouse import LandedBatch


def validate(workspace: Workspace, batch: Batch, run: Run) -> Batch:
    """Run the suite on the landed partition and settle it: failing rows to quarantine, the rest to the vault.

    Raises ValidationStoppedError when a critical rule fails (landing and vault stay as they are), ContendedError when
    another run has landed the partition since.
    """
    with workspace.hop("validate", "validator", batch, run) as hop:
        state = hop.landed()
        if state.state == "settled":
            terms = hop.conservation(state).terms()
            hop.warehouse.append(hop.recorded.outcome(Outcome.REPLAYED, conservation=terms))
            return _counted(batch, state.accepted or 0, state.quarantined or 0)
        if state.run_id != batch.run_id:
            raise ContendedError(
                f"{batch.label}: run {state.run_id} has landed this partition since; this run waits for it and retries"
            )
        hop.require_form(state)
        settled = _settle(hop, state)
    return _counted(batch, settled.accepted[hop.spec.root], settled.quarantined[hop.spec.root])


def _settle(hop: Hop, state: LandedBatch) -> Settled:
    has_rows = any(state.landed_counts.values())
    verdict = validation.Verdict((), ())
    if has_rows:  # zero rows are no data, and Great Expectations would let them pass
        verdict = validation.validate(
            validation.load_suite(hop.batch.dataset, hop.workspace.suites),
            dsn=hop.lent.dsn,
            partition_key=hop.batch.partition_key,
            expected_rows=_expected_rows(state, hop.spec),
            label=hop.batch.label,
        )
        hop.lent.rows += sum(state.landed_counts.values())
        hop.recorded.facts["rules"] = verdict.rules
        if verdict.stopped_by:
            first = verdict.stopped_by[0]
            names = ", ".join(sorted({rule.rule for rule in verdict.stopped_by}))
            raise ValidationStoppedError(
                f"{hop.batch.label}: critical rules failed: {names} (first on table {first.table}, "
                f"{first.evaluated} rows seen); nothing was settled and the last good state stays; "
                f"find what changed the rows on their way and run the partition again"
            )

    def entry(settled: Settled) -> Entry:
        root = hop.spec.root
        conservation = replace(
            hop.conservation(state), accepted=settled.accepted[root], quarantined=settled.quarantined[root]
        )
        if conservation.pulled != conservation.accepted + conservation.quarantined:
            raise ConservationError(f"{hop.batch.label}: {'; '.join(conservation.imbalances())}; nothing was settled")
        return hop.recorded.outcome(
            Outcome.PASSED if has_rows else Outcome.NO_DATA,
            counts={f"{table}_accepted": n for table, n in settled.accepted.items()}
            | {f"{table}_quarantined": n for table, n in settled.quarantined.items()},
            conservation=conservation.terms(),
            rules=verdict.rules,
        )

    return hop.warehouse.settle(hop.batch, hop.partition.day, verdict.findings, entry)


def _expected_rows(state: LandedBatch, spec: Dataset) -> dict[str, int]:
    """Rows that each landed table must have: what the source counted, less what pull refused or dropped, and what was
    due since."""
    refused = sum(state.refused.values())
    gone = Counter(state.dropped) + Counter(state.purged)
    expected = {table: rows - gone[table] for table, rows in state.source_counts.items()}
    for table, landed in spec.landed.items():
        if landed.term:
            expected[table] -= refused
    return expected


def _counted(batch: Batch, accepted: int, quarantined: int) -> Batch:
    return replace(batch, counts={**batch.counts, "accepted": accepted, "quarantined": quarantined})
