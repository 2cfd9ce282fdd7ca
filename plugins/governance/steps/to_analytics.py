"""The third hop: one release per partition, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from governance import announcements, warehouse
from governance.errors import ConservationError, ContendedError, PartitionError
from governance.publications import Decisions, Publication, Published
from governance.run_log import Batch, Conservation, Outcome, Run
from governance.steps import counting, releasing
from governance.steps.workspace import Hop, Workspace
from governance.warehouse import LandedBatch

if TYPE_CHECKING:
    from governance.anonymisation.releases import Release


def missing_predecessor(workspace: Workspace, batch: Batch) -> str | None:
    """The partition that has to be published before this one and is not yet, or None; None too where this one, or one
    after it, is published: then there is nothing to wait for, and `publish` says so."""
    partition = workspace.partition(batch.dataset, batch.partition_key)
    if partition.day == workspace.policy.first_partition(batch.dataset):
        return None
    before = partition.day - timedelta(days=1)
    with warehouse.connect(workspace.warehouse_dsn("coordinator"), batch.label) as connection:
        return None if connection.published_from(batch.dataset, before) else before.isoformat()


def publish(workspace: Workspace, batch: Batch, run: Run) -> Batch:
    """Publish a partition's release, once: a second call finds it and changes nothing.

    Raises ContendedError while the partition before it is not published, PartitionError when one after it is,
    DisclosureError when k or l would not hold.
    """
    with workspace.hop("publish", "publisher", batch, run) as hop:
        where = "audit.release_measures" if hop.spec.release.is_noisy else "analytics.releases"
        earlier = hop.warehouse.release(batch.dataset, hop.partition.day, where)
        if earlier is not None:
            measures = {"k": earlier.k, "l": earlier.l, "rows": earlier.rows, "suppressed": earlier.suppressed}
            hop.warehouse.append(hop.recorded.outcome(Outcome.REPLAYED, measures=measures))
            return _counted(batch, earlier.rows or 0, earlier.suppressed or 0)
        later = hop.warehouse.published_from(batch.dataset, hop.partition.day + timedelta(days=1))
        if later:
            raise PartitionError(
                f"{batch.label}: releases come in order (E1), and that of {later[-1]} is out; nothing was published: "
                "first_partition was set back behind what is published; set it forward again. Rows that were accepted "
                "and can still be released come with the next release"
            )
        missing = missing_predecessor(workspace, batch)
        if missing:
            raise ContendedError(f"{batch.label}: partition {missing} has to be published first; the task retries")
        state = hop.landed()
        if state.state != "settled":
            raise ContendedError(
                f"{batch.label}: run {state.run_id} has landed it again and not settled it; the task retries"
            )
        hop.require_form(state)
        conservation = _publish(hop, state)
    return _counted(batch, conservation.published, conservation.suppressed)


def _publish(hop: Hop, state: LandedBatch) -> Conservation:
    with hop.warehouse.publication(hop.batch, hop.partition.day) as publication:
        release, decided = _DECIDE[hop.batch.dataset](hop, publication)
        held = _held(hop, publication, release)
        ended = publication.ended(hop.spec.root)
        conservation = replace(
            hop.conservation(state),
            carried_in=decided.total - decided.own + held.get(False, 0),
            carried_out=sum(held.values()),
            published=decided.of("published"),
            suppressed=decided.of("suppressed"),
            superseded=decided.of("superseded"),
            erased=decided.of("erased") + ended,
        )
        problems = conservation.imbalances() + publication.strangers(
            hop.spec.root, hop.workspace.policy.form(hop.batch.dataset)
        )
        own = decided.own + held.get(True, 0) + ended
        if own != conservation.accepted:
            problems.append(f"the vault holds {own} rows of the partition, {conservation.accepted} were accepted")
        if problems:
            raise ConservationError(f"{hop.batch.label}: {'; '.join(problems)}; nothing was published")
        entry = hop.recorded.outcome(
            Outcome.PASSED if decided.total or held else Outcome.NO_DATA,
            counts={"table_rows": len(release.rows)},
            conservation=conservation.terms(),
            measures={"k": release.risk.k, "l": release.risk.l, **release.spent, **release.figures},
        )
        measured = Published(conservation.published, conservation.suppressed, release.risk.k, release.risk.l)
        if hop.spec.release.is_noisy:  # exact numbers beside noisy ones would undo the noise
            publication.keep_measures(measured)
            measured = Published(None, None, None, None)
        _announce(hop, publication, release)
        publication.append(hop.spec.release.table, release.rows, measured, entry)
    return conservation


def _held(hop: Hop, publication: Publication, release: Release) -> dict[bool, int]:
    """How many rows are held, counted where they are. Raises ContendedError when they changed under the release."""
    if release.daily is None:
        return {}
    held = publication.held()
    if sum(held.values()) != release.daily.held:
        raise ContendedError(
            f"{hop.batch.label}: {release.daily.held} rows were to be held, {sum(held.values())} would be: some were "
            "accepted, or ended, while it was decided; nothing was published; the task retries"
        )
    return held


def _announce(hop: Hop, publication: Publication, release: Release) -> None:
    from governance.anonymisation.bias import biases

    policy = hop.workspace.policy
    told = []
    if release.offered is not None:
        told = biases(release.offered, hop.spec.release.columns, k=int(policy.value("k")))
    announcements.announce(publication.cursor, policy, hop.batch.dataset, hop.partition.day, told)


_DECIDE: Mapping[str, Callable[[Hop, Publication], tuple[Release, Decisions]]] = MappingProxyType(
    {"bookings": releasing.bookings, "visits": counting.visits}
)


def _counted(batch: Batch, published: int, suppressed: int) -> Batch:
    return replace(batch, counts={**batch.counts, "published": published, "suppressed": suppressed})
