"""Counts with noise of a closed day, drawn once: the third hop of visits; of bookings, beside the rows (E1, B1, B2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from governance import sources
from governance.errors import DisclosureError, WarehouseUnavailableError
from governance.publications import Decisions, Publication
from governance.steps.sequencing import restore_acknowledged_at
from governance.steps.workspace import Hop

if TYPE_CHECKING:
    import pandas as pd

    from governance.anonymisation.budgets import Budget
    from governance.anonymisation.counted import Counted
    from governance.anonymisation.releases import Release
    from governance.datasets import Release as Specification

SESSIONS, REGIONS, DELAYS = "visits_sessions", "visits_regions", "visits_search_to_booking"
FUNNEL = "inquiries_funnel"


def visits(hop: Hop, publication: Publication) -> tuple[Release, Decisions]:
    """Decide the views of a day, and publish their counts; those of sessions are returned, to be published as the
    release.

    Everything is in the publication's transaction, the budgets too. Raises DisclosureError when a budget was spent
    before, or a cell does not hold k.
    """
    from governance.anonymisation import budgets

    policy = hop.workspace.policy
    of = {spec.table: budgets.budget(spec.table, policy.value(spec.table)) for spec in hop.spec.releases}
    tables = _told(hop, publication, _counted(hop, publication, of))
    decided = publication.decisions()
    hop.lent.rows += decided.total
    released = {spec.table: _released(hop, publication, spec, tables[spec.table]) for spec in hop.spec.releases}
    for spec in hop.spec.further:
        publication.add(spec.table, released[spec.table].rows)
    spent = {"epsilon": sum(b.epsilon for b in of.values()), "delta": sum(t.charge.delta for t in tables.values())}
    return replace(released[hop.spec.release.table], spent=spent), decided


def booking_events(hop: Hop, publication: Publication, accepted: pd.DataFrame) -> dict[str, float]:
    """Publish counts of the booking events of the partition's own day; returns what that costs: epsilon, delta.

    `accepted`: bookings that are not decided yet, without those of erased clients, in clear as far as the cells need
    it. In the publication's transaction. Raises DisclosureError when a budget was spent before.
    """
    from governance.anonymisation import budgets, counted, events, noise

    policy, last = hop.workspace.policy, events.last_of_day(accepted, hop.partition.day)
    of = {spec.table: budgets.budget(spec.table, policy.value(spec.table)) for spec in hop.spec.further}
    exact = {spec.table: events.exact(last, spec, of[spec.table]) for spec in hop.spec.further}
    drawn = {table: counted.known_cells(table, exact[table], of[table], noise) for table in exact}
    tables = _told(hop, publication, drawn)
    for spec in hop.spec.further:
        publication.add(spec.table, _released(hop, publication, spec, tables[spec.table]).rows)
    return {"epsilon": sum(b.epsilon for b in of.values()), "delta": 0.0}


def _counted(hop: Hop, publication: Publication, of: Mapping[str, Budget]) -> dict[str, Counted]:
    from governance.anonymisation import counted, noise

    policy, by_page = hop.workspace.policy, of[SESSIONS]
    k, degrees = int(policy.value("k")), float(policy.value("coordinate_grid_degrees"))
    sessions = publication.decide_visits(contributions=by_page.contributions, per_cell=by_page.per_cell)
    if int(sessions["exact"].sum()) > publication.decisions().of("published"):
        raise DisclosureError(f"{hop.batch.label}: more sessions were counted than views; nothing was published")
    regions = counted.grid_cells(REGIONS, publication.count("count_regions"), of[REGIONS], noise, k=k)
    delays = publication.count("count_search_to_booking")
    return {
        SESSIONS: counted.open_cells(SESSIONS, sessions, by_page, noise, k=k),
        REGIONS: counted.placed(regions, degrees),
        DELAYS: counted.known_cells(DELAYS, delays, of[DELAYS], noise),
        FUNNEL: counted.known_cells(FUNNEL, _steps_of_inquiries(hop), of[FUNNEL], noise),
    }


def _steps_of_inquiries(hop: Hop) -> pd.DataFrame:
    """Clients by furthest step, counted at the source, of which nothing lands: adults who had accepted the terms, and
    of whom no request stands that forbids it (A1, L1, M1). Raises SourceUnavailableError."""
    import pandas as pd

    over = ",".join(hop.workspace.policy.value("restriction_over"))
    with sources.snapshot(hop.workspace.source_uri(), hop.batch.label) as source:
        adult_years = str(hop.workspace.policy.value("adult_years"))
        steps = source.counts("funnel", hop.partition, restriction_over=over, adult_years=adult_years)
    return pd.DataFrame({"furthest_step": list(steps), "exact": list(steps.values()), "people": list(steps.values())})


def _told(hop: Hop, publication: Publication, tables: Mapping[str, Counted]) -> dict[str, Counted]:
    """What may be told of tables: nothing of a period that may have been published already, before a backup from before
    that was put back. What may have been spent counts as spent, for noise drawn twice is half gone.

    Raises RunLogError where the run log shows that a backup was put back, and nobody has said so yet.
    """
    end = hop.partition.end
    try:
        acknowledged_at = restore_acknowledged_at(hop.workspace)
    except WarehouseUnavailableError as error:
        raise WarehouseUnavailableError(f"{hop.batch.label}: {error}") from None
    if publication.may_be_known(end) or (acknowledged_at is not None and acknowledged_at >= end):
        return {name: replace(table, cells=table.cells.iloc[:0]) for name, table in tables.items()}
    return dict(tables)


def _released(hop: Hop, publication: Publication, spec: Specification, table: Counted) -> Release:
    """Spend the budget of a table and keep its exact counts; returns what is published of it."""
    from governance.anonymisation import releases

    k = int(hop.workspace.policy.value("k"))
    release = releases.noisy_counts(table.cells, spec, hop.partition.day, k=k)
    publication.spend(table.charge, hop.workspace.policy.digest)
    publication.keep_exact(spec.table, table.exact(k))
    return release
