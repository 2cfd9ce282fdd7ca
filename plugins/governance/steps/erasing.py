"""The end of minors: whoever stayed in quarantine for want of a consent is erased when the review is over (L3).

An erasure is begun by noting whom it is about, and closed in the transaction of its last deed, so that a try which was
killed anywhere is finished by the next one: keys first, then the source, then our database. Each has an entry of its
own, with the rows of each place, the ids of the keys, and no name or number of anybody.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from zoneinfo import ZoneInfo

import psycopg2.extensions
import pyarrow as pa

from governance import door, erasure, obligations, saved_cards, sources, subjects, warehouse
from governance.erasure import Erased, Erasure, Places
from governance.errors import ContendedError, GovernanceError, TransientError
from governance.keys import KeyService
from governance.partitions import Partition
from governance.recording import Recorded, new_id
from governance.retention import Looked
from governance.run_log import Attempt, Batch, Outcome, Run
from governance.sources import named_query
from governance.steps import rejudging
from governance.steps.card_desk import DATASET
from governance.steps.keeping import bury_keys
from governance.steps.minors_in_review import NEW, SEEN, STANDS, end_reviews
from governance.steps.minors_in_review import found as found_minors
from governance.steps.retaining import (
    OF_ALL,
    Planned,
    as_retainer,
    now_by_both_clocks,
    recorded_end,
    session_at_source,
)
from governance.steps.to_landing import pull
from governance.steps.to_vault import validate
from governance.steps.workspace import Workspace

EVENT = "erase"
MINORS = "minors"
BY_BOOKING = attrgetter("booking_id")
REASON = "a minor without a guardian's consent, after the review (L3)"
SHARED = {
    "sharing.deliveries": ["delivery_id", "recipient_id", "given_up_at"],
    "sharing.delivered_rows": ["delivery_id", "booking_id", "booking_reference", "revoked_at"],
    "sharing.obligations": ["delivery_id", "booking_reference", "reason"],
}


def erase_minors(workspace: Workspace, run: Run, planned: Planned | None = None) -> dict[str, int]:
    """Erase every minor whose review is over, in every place that policy lists; returns counts.

    One that fails keeps no other from its erasure, and is finished by the next run; its error is raised at the end.
    `planned`: those of a plan, and nobody else. Raises InputError when they are others by now, ContendedError,
    SourceUnavailableError, WarehouseUnavailableError, KeyringError.
    """
    with recorded_end(workspace, "erase_minors", "minors", run, ("L3",)) as recorded:
        at = planned.at if planned else now_by_both_clocks(workspace)
        reviewed = found_minors(workspace, recorded.attempt, at)
        if planned:
            planned.require(MINORS, _digest(reviewed.erasures))
        found = _begun(workspace, recorded.attempt, reviewed.erasures)
        errors: list[GovernanceError] = []
        erased = 0
        for one in found:
            try:
                _erase(workspace, one, run)
                erased += 1
            except GovernanceError as error:
                errors.append(error)
        counts = {"due": len(found), "erased": erased}
        if errors:
            recorded.facts["counts"] = counts
            raise next((error for error in errors if not isinstance(error, TransientError)), errors[0])
        if planned or not reviewed.others:
            recorded.append(recorded.outcome(Outcome.PASSED if found else Outcome.NO_DATA, counts=counts))
            return counts
        with as_retainer(workspace, recorded.attempt, SEEN) as (cursor, append):
            over = end_reviews(workspace, cursor, reviewed.others, at)
            counts |= {"reviews_over": over} if over else {}
            append(recorded.outcome(Outcome.PASSED if found or over else Outcome.NO_DATA, counts=counts))
    return counts


def begin_erasures(workspace: Workspace, run: Run, planned: Planned) -> None:
    """Note whom the erasures of a plan are about, so that no rule of retention takes away what tells so."""
    with recorded_end(workspace, "begin_erasures", "minors", run, ("L3",)) as recorded:
        found = found_minors(workspace, recorded.attempt, planned.at).erasures
        planned.require(MINORS, _digest(found))
        _begun(workspace, recorded.attempt, found)
        recorded.append(recorded.outcome(Outcome.PASSED if found else Outcome.NO_DATA, counts={"due": len(found)}))


def look_at_minors(workspace: Workspace, recorded: Recorded, at: datetime) -> list[Looked]:
    """What an erasure at an instant would be about: bookings, then rows place by place; nothing is changed."""
    found = found_minors(workspace, recorded.attempt, at).erasures
    due: Counter[str] = Counter()
    on_hold: Counter[str] = Counter()
    for one in found:
        whom, _ = _as_whom(workspace, one)
        with session_at_source(workspace, recorded.attempt.batch.label, STANDS) as there:
            _count(Places(there, workspace.policy, "source", whom).standing(), due, on_hold)
        with as_retainer(workspace, recorded.attempt, _columns(workspace)) as (here, _):
            _count(Places(here, workspace.policy, "warehouse", whom).standing(), due, on_hold)
    looked = [Looked(MINORS, len(found), digest=_digest(found))]
    for name, place in workspace.policy.retention.erasure.items():
        if due[name] or on_hold[name]:
            held = {place.ground: on_hold[name]} if on_hold[name] else {}
            looked.append(Looked(name, due[name], held, digest=f"{due[name]} {on_hold[name]}"))
    return looked


def _count(stands: Erased, due: Counter[str], on_hold: Counter[str]) -> None:
    due.update(stands.ended)
    on_hold.update(stands.protected)


# -- whom it is about --------------------------------------------------------------------------------------------------


def _begun(workspace: Workspace, attempt: Attempt, found: Sequence[Erasure]) -> list[Erasure]:
    """Note whom the erasures are about, before anything is done that was not noted before."""
    begun = []
    with as_retainer(workspace, attempt, SEEN) as (cursor, _):
        for one in found:
            number = one.number
            versions, travellers = ([place[part] for place in one.travellers] for part in (0, 1))
            whom = (versions, travellers, list(one.clients))
            if number == NEW:
                cursor.execute(
                    "INSERT INTO quarantine.erasures (booking_id, versions, travellers, clients, booked_at) "
                    "VALUES (%s, %s, %s, %s, %s) RETURNING erasure_no",
                    (one.booking_id, *whom, one.booked_at),
                )
                ((number,),) = cursor.fetchall()
            else:
                cursor.execute(
                    "UPDATE quarantine.erasures SET versions = %s, travellers = %s, clients = %s, booked_at = %s "
                    "WHERE erasure_no = %s "
                    "AND (versions, travellers, clients) IS DISTINCT FROM (%s::int[], %s::int[], %s::bigint[])",
                    (*whom, one.booked_at, number, *whom),
                )
            begun.append(replace(one, number=number))
    return begun


def _digest(found: Sequence[Erasure]) -> str:
    """Of whom these erasures are about."""
    told = "".join(f"{one.booking_id} {one.travellers} {one.clients}\n" for one in sorted(found, key=BY_BOOKING))
    return hashlib.sha256(told.encode()).hexdigest()


def _as_whom(workspace: Workspace, one: Erasure) -> tuple[Erasure, list[bytes]]:
    """The erasure, told when its clients began anew, and the ids of the keys of everyone whom it is about.

    A client who has begun anew keeps the subject that began; the profile keys of the former one are those of its rows.
    """
    with closing(workspace.keys()) as service:
        names = {client: f"client {client}" for client in one.clients}
        subject = partial(_ended, service, "subject")
        accepted = _accepted(workspace, list(names.values())) if subject(names.values()) else {}
        keys = [service.id_of("subject", scope) for holder in ("traveller", "guardian") for scope in one.scopes(holder)]
        until = {}
        for client, name in names.items():
            line = subjects.succession(name, one.booked_at, subject, accepted)
            keys += [service.id_of("subject", scope) for scope in line.scopes]
            if line.until:
                until[client] = line.until
            else:
                keys += [service.id_of("profile", scope) for scope in _profile_scopes(service, client)]
    return replace(one, until=until), keys


def _ended(service: KeyService, kind: str, scopes: Iterable[str]) -> dict[str, datetime]:
    by_id = {service.id_of(kind, scope): scope for scope in scopes}
    found = service.store.fetch(list(by_id)).values()
    return {by_id[key.id]: datetime.fromtimestamp(key.destroyed_at or 0, UTC) for key in found if key.is_destroyed}


def _profile_scopes(service: KeyService, client: int) -> list[str]:
    """Of every profile key that a client has had: no other, so that a try which goes on destroys the same."""
    scopes: list[str] = []
    following = saved_cards.profile_scope(client, 1)
    while service.store.fetch([service.id_of("profile", following)]):
        scopes.append(following)
        following = saved_cards.profile_scope(client, len(scopes) + 1)
    return scopes


def _accepted(workspace: Workspace, clients: Sequence[str]) -> dict[str, list[datetime]]:
    """When clients accepted the terms as adults, as the source knows it today."""
    zone = workspace.policy.time_zone
    today = Partition(workspace.clock().astimezone(ZoneInfo(zone)).date(), zone)
    with sources.snapshot(workspace.source_uri(), "acceptances of clients who are erased") as snapshot:
        found = snapshot.acceptances(today, clients)
    return subjects.acceptances_of_adults(found, int(workspace.policy.value("adult_years")))


# -- one erasure -------------------------------------------------------------------------------------------------------


def _erase(workspace: Workspace, one: Erasure, run: Run) -> None:
    """Keys, source, our database, in this order: what is known of a person is what the next step finds them by."""
    with recorded_end(workspace, EVENT, "minors", run, ("L3", "M1"), has_intent=False) as recorded, ExitStack() as held:
        if one.clients:  # nobody saves a card of theirs meanwhile
            dsn, label = workspace.warehouse_dsn(door.RECORDER), recorded.attempt.batch.label
            cards = held.enter_context(warehouse.connect(dsn, label))
            held.enter_context(cards.exclusive(Batch(DATASET, OF_ALL, run.run_id)))
        one, keys = _as_whom(workspace, one)
        columns = _columns(workspace)
        if one.clients:
            with as_retainer(workspace, recorded.attempt, columns) as (cursor, _):
                keys = [*dict.fromkeys([*keys, *Places(cursor, workspace.policy, "warehouse", one).keys()])]
        there = _at_source(workspace, one, keys, recorded, run)
        stood = _bring_adults_anew(workspace, one, recorded, run)
        with as_retainer(workspace, recorded.attempt, columns) as (cursor, append):
            here = Places(cursor, workspace.policy, "warehouse", one)
            _require_settled(here, one, _strangers(cursor, one))
            before, ended = here.standing(), here.end()
            _require_nothing(here.standing(), "our database")
            cursor.execute("DELETE FROM quarantine.erasures WHERE erasure_no = %s", (one.number,))
            # Rows of theirs that went when a partition was run again went for this erasure.
            gone = Counter(there.ended) | Counter(ended.ended) | Counter(stood)
            counts = {f"erased {name}": n for name, n in gone.items()}
            if owed := obligations.raise_for(cursor, [one.booking_id], "erased"):
                counts["obligations"] = owed
            counts |= {f"protected {name}": n for name, n in {**there.protected, **before.protected}.items()}
            counts |= {f"protected {name}": n for name, n in one.protected.items()}
            append(recorded.outcome(Outcome.PASSED, counts=counts | {"left": 0}, keys=[id.hex() for id in keys]))


def _columns(workspace: Workspace) -> dict[str, list[str]]:
    """What an erasure reads of our database, as the door's entry has it."""
    read: dict[str, set[str]] = {}
    for place in erasure.places(workspace.policy, "warehouse").values():
        read.setdefault(place.table, set()).update(erasure.columns_read(place))
    return {table: sorted(names) for table, names in read.items()} | SEEN | SHARED


def _at_source(workspace: Workspace, one: Erasure, keys: Sequence[bytes], recorded: Recorded, run: Run) -> Erased:
    """End what the source has of them; their keys go once it is said and before anything does, so that nothing lands
    again."""
    with session_at_source(workspace, recorded.attempt.batch.label, STANDS) as cursor:
        there = Places(cursor, workspace.policy, "source", one)
        before = there.standing()
        told = {f"standing {name}": n for name, n in before.ended.items()}
        recorded.append(recorded.attempt.intent(entry_id=new_id(), at=workspace.clock(), counts=told))
        _make_keys_of_adults(workspace, one)
        bury_keys(workspace, keys, REASON, run)
        ended = there.end()
        _require_nothing(there.standing(), "the source")
    return Erased(ended.ended, before.protected)


def _make_keys_of_adults(workspace: Workspace, one: Erasure) -> None:
    """Give whoever is an adult under the number of a minor a key of their own, before that of the number goes.

    Where it is gone already, either they have one, or it was an adult who was erased.
    """
    with closing(workspace.keys()) as service:
        scopes = one.scopes("traveller")
        gone = _ended(service, "subject", scopes)
        theirs = [f"{scope}{subjects.AS_AN_ADULT}" for scope in scopes if scope not in gone]
        service.acting("loader", "intake", lambda _: None).sealing("subject", pa.array(theirs, pa.string()))


def _bring_adults_anew(workspace: Workspace, one: Erasure, recorded: Recorded, run: Run) -> dict[str, int]:
    """Run the partitions again where others stand under the keys that are gone, so that they stand under their own;
    returns the rows that stood here of whom the erasure is about, by place."""
    if not one.travellers:
        return {}
    numbers = [str(number) for number in one.numbers()]
    named = {"booking": one.booking_id, "numbers": numbers, "keys": one.row_keys()}
    with as_retainer(workspace, recorded.attempt, _columns(workspace)) as (cursor, _):
        stood = Places(cursor, workspace.policy, "warehouse", one).standing().ended
        cursor.execute(named_query("fellow_travellers"), named)
        days = [day for (day,) in cursor.fetchall()]
    for day in days:
        validate(workspace, pull(workspace, rejudging.DATASET, day.isoformat(), run), run)
    return stood


def _strangers(cursor: psycopg2.extensions.cursor, one: Erasure) -> bool:
    """Whether somebody of the booking has come into review since the erasure was begun."""
    cursor.execute(named_query("minors_of_booking"), {"booking": one.booking_id})
    return not set(cursor.fetchall()) <= {*one.travellers, *one.left_out}


def _require_settled(here: Places, one: Erasure, is_joined: bool) -> None:
    """Raise ContendedError while rows of theirs wait for validation, or somebody else of the booking is in review."""
    unsettled = here.unsettled()
    if unsettled or is_joined:
        why = f"{unsettled} rows of theirs wait for validation" if unsettled else "another traveller is in review now"
        raise ContendedError(
            f"erasure {one.number} of minors: {why}; their keys are destroyed and the source has nothing of them; the "
            "next run finishes it"
        )


def _require_nothing(left: Erased, where: str) -> None:
    if left.ended:
        told = ", ".join(f"{name} {n}" for name, n in left.ended.items())
        raise GovernanceError(
            f"an erasure of minors: a search of {where} finds rows after it ({told}); nothing was done there; the next "
            "run tries again"
        )
