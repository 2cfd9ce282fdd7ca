"""The third hop of bookings: a release of what can be published finely by now; the rest is held (E1).

Beside the rows go counts with noise of all events of the day (`counting.booking_events`), in which nobody is missing
because they were published before.

Held rows are accepted rows about which nothing is decided. They are where they were, encrypted as they were, reached by
erasure and retention; the next release has them again. Rows of clients who asked that their data be restricted, or
objected, are held whatever their age, and are in no pool, for as long as their request stands (M1; GDPR articles 18
and 21).

Of people who were published `vault.release_people` remembers a number, HMAC-SHA256 of the client's token under the
release key, and the sensitive values of their first class. The token names the client's key, so whoever has the key
store with its keyring, the release key and a client's number can find the line of that client, and nobody else can. An
erasure destroys the client's key, not that way to the line; so the first release after it ends the line. Nothing needs
it any more: what the client does later, if anything, is another subject's. Published rows stay, which name nobody.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from governance import release_attacks, sources
from governance.errors import ConservationError, DisclosureError
from governance.publications import Decisions, Publication
from governance.steps import counting
from governance.steps.workspace import Hop

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from governance.anonymisation.releases import Daily, Model, Release
    from governance.anonymisation.signatures import Ledger
    from governance.key import DataKey

PURPOSE = "improve_services"


def bookings(hop: Hop, publication: Publication) -> tuple[Release, Decisions]:
    """Decide about the bookings that no release has decided yet, all in the publication's transaction.

    Raises DisclosureError when what is about to be published does not hold policy's measures, by itself or together
    with earlier releases, ContendedError while an earlier partition with rows to decide waits for validation.
    """
    from governance.anonymisation import keyed, releases

    _require_none_over(hop, publication)
    key = hop.keys(PURPOSE).key("release", hop.batch.dataset)
    publication.require_settled(hop.spec.root)
    undecided = hop.warehouse.undecided(hop.batch.dataset, hop.partition.day)
    hop.lent.rows += undecided.num_rows
    rows, erased = without_erased(hop, undecided)
    rows, restricted = _without_restricted(hop, rows)
    of = model_of(hop)
    accepted = numbered(in_clear(hop, rows), key)
    accepted["since"] = accepted["partition_key"].map(
        _since(publication, accepted["partition_key"].unique().tolist(), of)
    )
    forgotten = publication.forget([_line(number) for number in _numbers_of_erased(hop, key)])
    ledger = ledger_of(publication, accepted["person_number"].unique(), of)
    release = releases.bookings(accepted, of, hop.partition.day, ledger, keyed.seed(key, hop.partition.day.isoformat()))
    attacked = _attack(hop, publication, (accepted, release, ledger), (of, key))
    apart = {"restricted": restricted, "people_forgotten": forgotten}
    figures = {**release.figures, **attacked, **{name: count for name, count in apart.items() if count}}
    release = replace(release, figures=figures, daily=_with_held(release.daily, restricted))
    if release.daily is not None:
        publication.remember(_remembered(release.daily.remembered, of))
    release = replace(release, spent=counting.booking_events(hop, publication, accepted))
    return release, _decided(hop, publication, (release.decisions, erased))


def _decided(hop: Hop, publication: Publication, decisions: Sequence[pd.DataFrame | None]) -> Decisions:
    """Note decisions. Raises ConservationError when the ledger then has others."""
    told = [each for each in decisions if each is not None and len(each)]
    for each in told:
        publication.decide(each)
    decided = publication.decisions()
    if decided.total != sum(map(len, told)):
        raise ConservationError(
            f"{hop.batch.label}: {sum(map(len, told))} rows were decided, the ledger has {decided.total}; nothing was "
            "published"
        )
    return decided


def _since(publication: Publication, partitions: Sequence[date], of: Model) -> dict[date, date]:
    """Since when the rows of each partition wait: its own day, or, of those accepted late, a later release's."""
    from governance.anonymisation.daily import waiting_since

    delay = of.rules.terms.delay
    late = [day for day in partitions if (publication.day - day).days >= delay]
    chances = publication.chances(late) if late else {}
    return {day: waiting_since(day, chances.get(day, ()), delay) for day in partitions}


def _with_held(daily: Daily | None, restricted: int) -> Daily | None:
    return daily and replace(daily, held=daily.held + restricted)


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
    rows = numbered(in_clear(hop, before), key)
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


def _require_none_over(hop: Hop, publication: Publication) -> None:
    """Raise DisclosureError while the newest attack on all releases is over a limit of the policy in force."""
    from governance.anonymisation import accumulated

    found = release_attacks.newest(publication.cursor, hop.batch.dataset)
    problems = accumulated.over(found.figures, hop.workspace.policy.value("bookings_whole_attack")) if found else []
    if found and problems:
        raise DisclosureError(
            f"{hop.batch.label}: the attack on all {found.releases} releases of {found.attacked_at:%Y-%m-%d %H:%M} UTC "
            f"is over a limit: {'; '.join(problems)}; nothing was published; the last good state stays; find out what "
            "was released, then trigger DAG release_attack, or let the controller decide policy value "
            "bookings_whole_attack, and clear this task"
        )


def model_of(hop: Hop) -> Model:
    """The model by which policy releases the dataset."""
    from governance.anonymisation import releases

    policy = hop.workspace.policy
    terms = policy.value("bookings_release")
    return releases.model(hop.spec.release, k=int(policy.value("k")), l=int(policy.value("l")), terms=terms)


def numbered(rows: pd.DataFrame, key: DataKey) -> pd.DataFrame:
    """Rows with keyed numbers of the row and the person."""
    from governance.anonymisation import keyed

    return rows.assign(
        row_number=keyed.numbers(rows["row_key"], key, "row"),
        person_number=keyed.numbers(rows["client_token"], key, "person"),
    )


def ledger_of(publication: Publication, people: np.ndarray, of: Model) -> Ledger:
    """What is remembered of people, as the model has it."""
    import numpy as np

    from governance.anonymisation.releases import signed
    from governance.anonymisation.signatures import Ledger

    found = publication.people([_line(person) for person in people])
    person = np.array([int.from_bytes(one, "big") for one, _ in found], dtype=np.uint64)
    return Ledger(person, signed([signature for _, signature in found], of))


def _remembered(ledger: Ledger, of: Model) -> list[tuple[bytes, list[str]]]:
    from governance.anonymisation.releases import spelt

    people = [_line(person) for person in ledger.person]
    return list(zip(people, spelt(ledger.signature, of), strict=True))


def _line(person: np.uint64) -> bytes:
    """By what the ledger knows a person."""
    return int(person).to_bytes(8, "big")


def _numbers_of_erased(hop: Hop, key: DataKey) -> np.ndarray:
    """Numbers of people whose key was destroyed since the day before the release's: the release before had the others.

    Keys that are no person's have numbers too, which nobody has.
    """
    from governance.anonymisation import keyed

    ids = hop.destroyed_since(hop.partition.start - timedelta(days=1))
    return keyed.numbers([id.hex() for id in ids], key, "person")


def without_erased(hop: Hop, rows: pa.Table) -> tuple[pa.Table, pd.DataFrame]:
    """Accepted bookings whose client is still there, and the decisions about the others: erased since.

    A client's token is the id of the client's key; once that is destroyed, the row is of nobody.
    """
    import pyarrow as pa

    ids = pa.array(map(_key_id, rows[hop.spec.release.person].to_pylist()), pa.binary())
    erased = hop.keys(PURPOSE).opening("subject", ids).is_destroyed(ids)
    gone = rows.filter(pa.array(erased)).select(["row_key", "partition_key"]).to_pandas()
    decisions = gone.rename(columns={"partition_key": "accepted_partition"}).assign(decision="erased")
    return rows.filter(pa.array(~erased)), decisions


def _without_restricted(hop: Hop, rows: pa.Table) -> tuple[pa.Table, int]:
    """Accepted bookings of whom no restriction and no objection stands at the source, and how many others there are.

    Raises SourceUnavailableError: what cannot be asked is not published.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not rows.num_rows:
        return rows, 0
    with sources.snapshot(hop.workspace.source_uri(), hop.batch.label) as source:
        asked = source.as_of("restricted_clients", hop.workspace.clock())
    over = hop.workspace.policy.value("restriction_over")
    standing = [row["scope"] for row in asked.to_pylist() if row["status"] not in over]
    people = rows[hop.spec.release.person]
    stands = pc.is_in(people, pa.array([id.hex() for id in hop.ids_of("subject", standing)], people.type))
    return rows.filter(pc.invert(stands)), int(pc.sum(stands).as_py())


def _key_id(token: str | None) -> bytes | None:
    return None if token is None else bytes.fromhex(token)


def in_clear(hop: Hop, rows: pa.Table) -> pd.DataFrame:
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
