"""The third hop of bookings: a release of what can be published finely by now; the rest is held (E1).

Beside the rows go counts with noise of all events of the day (`counting.booking_events`), in which nobody is missing
because they were published before.

Held rows are accepted rows about which nothing is decided. They are where they were, encrypted as they were, reached by
erasure and retention; the next release has them again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from governance.errors import DisclosureError
from governance.publications import Decisions, Publication
from governance.steps import counting
from governance.steps.workspace import Hop

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from governance.anonymisation.releases import Model, Release
    from governance.anonymisation.signatures import Ledger
    from governance.key import DataKey

PURPOSE = "improve_services"


def bookings(hop: Hop, publication: Publication) -> tuple[Release, Decisions]:
    """Decide about the bookings that no release has decided yet, all in the publication's transaction.

    Raises DisclosureError when what is about to be published does not hold policy's measures, by itself or together
    with earlier releases.
    """
    from governance.anonymisation import keyed, releases

    policy, key = hop.workspace.policy, hop.keys(PURPOSE).key("release", hop.batch.dataset)
    undecided = hop.warehouse.undecided(hop.batch.dataset, hop.partition.day)
    hop.lent.rows += undecided.num_rows
    rows, erased = _without_erased(hop, undecided)
    accepted = _numbered(_in_clear(hop, rows), key)
    of = releases.model(
        hop.spec.release, k=int(policy.value("k")), l=int(policy.value("l")), terms=policy.value("bookings_release")
    )
    ledger = _ledger(publication, accepted["person_number"].unique(), of)
    release = releases.bookings(accepted, of, hop.partition.day, ledger, keyed.seed(key, hop.partition.day.isoformat()))
    attacked = _attack(hop, publication, (accepted, release, ledger), (of, key))
    for decisions in (release.decisions, erased):
        if decisions is not None and len(decisions):
            publication.decide(decisions)
    if release.daily is not None:
        publication.remember(_remembered(release.daily.remembered, of))
    spent = counting.booking_events(hop, publication, accepted)
    return replace(release, figures={**release.figures, **attacked}, spent=spent), publication.decisions()


def _attack(
    hop: Hop,
    publication: Publication,
    day: tuple[pd.DataFrame, Release, Ledger],
    of: tuple[Model, DataKey],
) -> dict[str, float]:
    """Attack the release together with all earlier ones that its people are in. Raises DisclosureError over a limit."""
    from governance.anonymisation import attacking

    (accepted, release, ledger), (model, key) = day, of
    if release.daily is None or not len(release.rows):
        return {}
    back = accepted["person_number"].isin(release.daily.returning)
    tokens = sorted({token for token in accepted.loc[back, hop.spec.release.person] if token})
    before = hop.warehouse.published_of(hop.batch.dataset, tokens, hop.partition.day)
    hop.lent.rows += before.num_rows
    rows = _numbered(_in_clear(hop, before), key)
    columns = [name for name in model.specification.columns if name != "recorded_date"]
    shown = publication.released(
        hop.spec.release.table, ["recorded_date", *columns], sorted(set(rows["release_partition"]))
    )
    earlier = attacking.earlier(rows, shown, model, ledger)
    found = attacking.attacked(earlier, release.daily.published, model)
    problems = attacking.over(found, hop.workspace.policy.value("bookings_attack"))
    if problems:
        raise DisclosureError(
            f"{hop.batch.label}: attacked together with {len(earlier)} earlier releases, {'; '.join(problems)}; "
            "nothing was published; the last good state stays"
        )
    return attacking.figures(found)


def _numbered(rows: pd.DataFrame, key: DataKey) -> pd.DataFrame:
    from governance.anonymisation import keyed

    return rows.assign(
        row_number=keyed.numbers(rows["row_key"], key, "row"),
        person_number=keyed.numbers(rows["client_token"], key, "person"),
    )


def _ledger(publication: Publication, people: np.ndarray, of: Model) -> Ledger:
    """What is remembered of people, as the model has it."""
    import numpy as np

    from governance.anonymisation.releases import signed
    from governance.anonymisation.signatures import Ledger

    found = publication.people([int(person).to_bytes(8, "big") for person in people])
    person = np.array([int.from_bytes(one, "big") for one, _ in found], dtype=np.uint64)
    return Ledger(person, signed([signature for _, signature in found], of))


def _remembered(ledger: Ledger, of: Model) -> list[tuple[bytes, list[str]]]:
    from governance.anonymisation.releases import spelt

    people = [int(person).to_bytes(8, "big") for person in ledger.person]
    return list(zip(people, spelt(ledger.signature, of), strict=True))


def _without_erased(hop: Hop, rows: pa.Table) -> tuple[pa.Table, pd.DataFrame]:
    """Accepted bookings whose client is still there, and the decisions about the others: erased since.

    A client's token is the id of the client's key; once that is destroyed, the row is of nobody.
    """
    import pyarrow as pa

    ids = pa.array(map(_key_id, rows[hop.spec.release.person].to_pylist()), pa.binary())
    erased = hop.keys(PURPOSE).opening("subject", ids).is_destroyed(ids)
    gone = rows.filter(pa.array(erased)).select(["row_key", "partition_key"]).to_pandas()
    decisions = gone.rename(columns={"partition_key": "accepted_partition"}).assign(decision="erased")
    return rows.filter(pa.array(~erased)), decisions


def _key_id(token: str | None) -> bytes | None:
    return None if token is None else bytes.fromhex(token)


def _in_clear(hop: Hop, rows: pa.Table) -> pd.DataFrame:
    """Accepted bookings as a frame.

    Their procedure, encrypted at rest, is opened here and nowhere else, to be generalised at once.
    """
    from governance.encryption import Column, decrypt, key_ids

    sealed = rows["procedure_code_encrypted"]
    opened = decrypt(
        sealed,
        rows["service_row_key"].fill_null(""),  # a booking without a health service has no procedure to open
        key_of=hop.keys(PURPOSE).opening("subject", key_ids(sealed)).key_of,
        column=Column("booking_services", "procedure_code_encrypted"),
    )
    rows = rows.drop_columns(["procedure_code_encrypted"]).append_column("procedure_code", opened)
    frame: pd.DataFrame = rows.to_pandas()
    return frame
