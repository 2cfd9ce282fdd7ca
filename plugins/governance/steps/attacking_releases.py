"""Once a week: everything that was ever released of bookings is attacked as a whole (E1).

Before a release is published, it is attacked together with those that its people are in (`releasing`). What that cannot
see, and this can: what any releases tell together about anybody, what all rows are as one table, and that what was
published is still what it was. Releases are read one after the other, as analysts read them, and the rows that they
were made of by the publisher, whose purpose it is; of both stay codes. As one table they take about a kilobyte a row
while they are attacked. Whoever was erased, and whose rows retention has ended, is nobody in the releases they are in.

Figures, a row of `audit.release_attacks`, and the entry are one transaction. While the newest attack is over a limit of
the policy in force, nothing more is released.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from governance import release_attacks
from governance.errors import AlarmError
from governance.publications import Publication
from governance.release_attacks import Released
from governance.run_log import Batch, Outcome, Run
from governance.steps import releasing
from governance.steps.workspace import Hop, Workspace

if TYPE_CHECKING:
    from governance.anonymisation.composition import History, Published
    from governance.anonymisation.releases import Model
    from governance.key import DataKey

DATASET = "bookings"
EVENT = "attack_releases"


def attack_releases(workspace: Workspace, run: Run) -> dict[str, float]:
    """Attack all releases of bookings together; returns the figures, none where nothing is released yet.

    Raises AlarmError naming the measures that are over policy's limits, and by how much; what was found is kept then.
    """
    with workspace.hop(EVENT, "publisher", Batch(DATASET, "all", run.run_id), run) as hop:
        figures, alarms = _attack(hop)
    if alarms:
        raise AlarmError(alarms)
    return figures


def _attack(hop: Hop) -> tuple[dict[str, float], list[str]]:
    from governance.anonymisation import accumulated, keyed

    with hop.warehouse.ending() as (cursor, _):
        every = release_attacks.releases(cursor, DATASET)
    listed = [one for one in every if one.k is not None]
    if not listed:
        hop.warehouse.append(hop.recorded.outcome(Outcome.NO_DATA))
        return {}, []
    terms, of = hop.workspace.policy.value("bookings_whole_attack"), releasing.model_of(hop)
    key = hop.keys(releasing.PURPOSE).key("release", DATASET)
    seed = keyed.seed(key, f"all releases up to {listed[-1].day.isoformat()}")
    history, counted = _history(hop, listed, of, key)
    figures: dict[str, float] = {"releases": len(listed), "releases_before": len(every) - len(listed), **counted}
    figures |= accumulated.together(history, terms, seed)
    figures |= accumulated.as_one_table(accumulated.accumulated(history, of), int(terms["attacks"]), seed)
    alarms = [
        f"E1 all {len(listed)} releases of {DATASET} were attacked together, and nothing more is released: {problem}"
        for problem in accumulated.over(figures, terms)
    ]
    told = {"error": {"type": AlarmError.__name__, "message": "; ".join(alarms)}} if alarms else {}
    outcome = Outcome.FAILED if alarms else Outcome.PASSED
    entry = hop.recorded.outcome(outcome, measures=figures, alarms=alarms, **told)
    with hop.warehouse.ending() as (cursor, say):
        release_attacks.keep(cursor, hop.recorded.attempt, figures, is_over=bool(alarms))
        say(entry)
    return figures, alarms


def _history(hop: Hop, listed: list[Released], of: Model, key: DataKey) -> tuple[History, Counter[str]]:
    """All releases with their people, and what was counted on the way."""
    from governance.anonymisation.composition import History

    history = History(of.rules.widths[0], min(one.k for one in listed if one.k is not None))
    counted: Counter[str] = Counter(rows=0, rows_known=0, unplaced=0, short_classes=0)
    for one in listed:
        published, found = _release(hop, one, of, key)
        history.add(published)
        counted.update(found)
    return history, counted


def _release(hop: Hop, one: Released, of: Model, key: DataKey) -> tuple[Published, dict[str, int]]:
    """A release as it is published, everybody who is known in the class that they went to."""
    from governance.anonymisation import accumulated, attacking
    from governance.anonymisation.composition import NOBODY
    from governance.anonymisation.releases import coded

    taken = hop.warehouse.columns_of(DATASET, "released_bookings", (one.day,))
    hop.lent.rows += taken.num_rows
    rows, _ = releasing.without_erased(hop, taken)
    pool = coded(releasing.numbered(releasing.in_clear(hop, rows), key), of)
    columns = [name for name in of.specification.columns if name != "recorded_date"]
    with hop.warehouse.ending() as (cursor, say):
        publication = Publication(cursor, hop.batch, one.day, say)
        shown = publication.released(hop.spec.release.table, columns, [one.day])
        ledger = releasing.ledger_of(publication, pool.person, of)
    published = attacking.placed(pool, shown, of, ledger, anywhere=True)
    known = int((published.person != NOBODY).sum())
    return published, {
        "rows": len(shown),
        "rows_known": known,
        "unplaced": pool.person.size - known,
        "short_classes": accumulated.short_classes(shown, of, one.k or 0, one.l or 0),
    }
