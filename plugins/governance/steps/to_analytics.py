"""The third hop: one release per partition, in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from governance import warehouse
from governance.errors import ConservationError, ContendedError
from governance.run_log import Batch, Conservation, Outcome, Run
from governance.steps.workspace import Hop, Workspace
from governance.warehouse import LandedBatch, NewRelease, Published

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from governance.anonymisation.releases import Release


def missing_predecessor(workspace: Workspace, batch: Batch) -> str | None:
    """The partition that has to be published before this one and is not yet, or None."""
    partition = workspace.partition(batch.dataset, batch.partition_key)
    if partition.day == workspace.policy.first_partition(batch.dataset):
        return None
    before = partition.day - timedelta(days=1)
    with warehouse.connect(workspace.warehouse_dsn("coordinator"), batch.label) as connection:
        return None if connection.is_published(batch.dataset, before) else before.isoformat()


def publish(workspace: Workspace, batch: Batch, run: Run) -> Batch:
    """Publish a partition's release, once: a second call finds it and changes nothing.

    Raises ContendedError while the partition before it is not published, DisclosureError when k or l would not hold.
    """
    with workspace.hop("publish", "publisher", batch, run) as hop:
        earlier = hop.warehouse.release(batch.dataset, hop.partition.day)
        if earlier is not None:
            measures = {"k": earlier.k, "l": earlier.l, "rows": earlier.rows, "suppressed": earlier.suppressed}
            hop.warehouse.append(hop.recorded.outcome(Outcome.REPLAYED, measures=measures))
            return _counted(batch, earlier.rows, earlier.suppressed)
        missing = missing_predecessor(workspace, batch)
        if missing:
            raise ContendedError(f"{batch.label}: partition {missing} has to be published first; the task retries")
        state = hop.landed()
        if state.state != "settled":
            raise ContendedError(
                f"{batch.label}: run {state.run_id} has landed it again and not settled it; the task retries"
            )
        conservation = _publish(hop, state)
    return _counted(batch, conservation.published, conservation.suppressed)


def _publish(hop: Hop, state: LandedBatch) -> Conservation:
    import pandas as pd

    day = hop.partition.day
    undecided = hop.warehouse.undecided(hop.batch.dataset, day)
    hop.lent.rows += undecided.num_rows
    rows, erased = _without_erased(hop, undecided)
    accepted = _in_clear(hop, rows)
    release = _release(hop, accepted)
    decisions = pd.concat([release.decisions, erased], ignore_index=True)
    own = int((decisions["accepted_partition"] == day).sum())
    conservation = replace(
        hop.conservation(state),
        carried_in=len(decisions) - own,
        published=release.decided("published"),
        suppressed=release.decided("suppressed"),
        superseded=release.decided("superseded"),
        erased=len(erased),
    )
    problems = conservation.imbalances()
    if own != conservation.accepted:
        problems.append(f"the vault holds {own} rows of the partition, {conservation.accepted} were accepted")
    if problems:
        raise ConservationError(f"{hop.batch.label}: {'; '.join(problems)}; nothing was published")
    published = Published(conservation.published, conservation.suppressed, release.risk.k, release.risk.l)
    entry = hop.recorded.outcome(
        Outcome.PASSED if len(decisions) else Outcome.NO_DATA,
        counts={"table_rows": len(release.rows)},
        conservation=conservation.terms(),
        measures={"k": release.risk.k, "l": release.risk.l},
    )
    new = NewRelease(hop.spec.release.table, release.rows, decisions, published)
    hop.warehouse.publish(hop.batch, day, new, entry)
    return conservation


def _without_erased(hop: Hop, rows: pa.Table) -> tuple[pa.Table, pd.DataFrame]:
    """Accepted rows whose person is still there, and the decisions about the others: erased since they were accepted.

    A client's token is the id of the client's key; once that is destroyed, the row is of nobody.
    """
    import numpy as np
    import pyarrow as pa

    erased = np.zeros(rows.num_rows, bool)
    if hop.batch.dataset == "bookings":
        ids = pa.array(map(_key_id, rows[hop.spec.release.person].to_pylist()), pa.binary())
        erased = hop.keys("improve_services").opening("subject", ids).is_destroyed(ids)
    gone = rows.filter(pa.array(erased)).select(["row_key", "partition_key"]).to_pandas()
    decisions = gone.rename(columns={"partition_key": "accepted_partition"}).assign(decision="erased")
    return rows.filter(pa.array(~erased)), decisions


def _key_id(token: str | None) -> bytes | None:
    return None if token is None else bytes.fromhex(token)


def _in_clear(hop: Hop, rows: pa.Table) -> pd.DataFrame:
    """Accepted rows as a frame.

    The procedure of a booking, encrypted at rest, is opened here and nowhere else, to be generalised at once.
    """
    from governance.encryption import Column, decrypt, key_ids

    if hop.batch.dataset == "bookings":
        sealed = rows["procedure_code_encrypted"]
        opened = decrypt(
            sealed,
            rows["service_row_key"].fill_null(""),  # a booking without a health service has no procedure to open
            key_of=hop.keys("improve_services").opening("subject", key_ids(sealed)).key_of,
            column=Column("booking_services", "procedure_code_encrypted"),
        )
        rows = rows.drop_columns(["procedure_code_encrypted"]).append_column("procedure_code", opened)
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def _release(hop: Hop, accepted: pd.DataFrame) -> Release:
    from governance.anonymisation import releases

    policy, day, specification = hop.workspace.policy, hop.partition.day, hop.spec.release
    k = int(policy.value("k"))
    if hop.batch.dataset == "bookings":
        return releases.bookings(accepted, specification, day, k=k, l=int(policy.value("l")))
    return releases.visits(accepted, specification, day, k=k, limit=int(policy.value("visitor_daily_views")))


def _counted(batch: Batch, published: int, suppressed: int) -> Batch:
    return replace(batch, counts={**batch.counts, "published": published, "suppressed": suppressed})
