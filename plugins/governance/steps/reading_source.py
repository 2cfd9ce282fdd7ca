"""What the source says now of some bookings, in one snapshot, judged by the rules that validation uses (F1, N1, L1-L3).

Never our copy: between pull and hand-over a consent may be withdrawn, a restriction asked for, a person erased (E09,
E10). The instant of the snapshot is evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from governance import judging, sources, subjects, validation
from governance.errors import SourceUnavailableError
from governance.keys import KeyService
from governance.partitions import UpTo
from governance.run_log import Batch
from governance.sharing.eligibility import Reading
from governance.sources import Snapshot
from governance.steps.workspace import Workspace

DATASET = "bookings"
RULES = ("L1", "L2")
"""Clauses whose row rules a booking has to pass again when it is handed over."""
CARDS = ("K4",)
"""Clauses that keep card data out of texts: what was written since the booking was accepted has passed nothing."""
KIND = "subject"
AT_ONCE = 5_000
"""Bookings that are read, judged and delivered together: what bounds memory, and the size of a delivery."""
T = TypeVar("T")


@dataclass(frozen=True)
class Read:
    """What was read, and when by the source's clock."""

    reading: Reading
    at: datetime


class Source:
    """The source, to be read again and again in one session: each time in a snapshot of its own."""

    def __init__(self, workspace: Workspace, batch: Batch) -> None:
        self._workspace, self._batch = workspace, batch
        self._stack = ExitStack()
        self._opened: Snapshot | None = None

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """A snapshot of this moment. Raises SourceUnavailableError; what comes after it is read in another session."""
        try:
            opened = self._begun()
            yield opened
            opened.end()
        except BaseException:
            self.close()
            raise

    def _begun(self) -> Snapshot:
        if self._opened is not None:
            try:
                self._opened.begin()
            except SourceUnavailableError:  # it has let go of us since
                self.close()
            else:
                return self._opened
        self._opened = self._stack.enter_context(sources.snapshot(self._workspace.source_uri(), self._batch.label))
        return self._opened

    @cached_property
    def suite(self) -> Mapping[str, Any]:
        """The suite of bookings. Raises PolicyError."""
        return validation.load_suite(DATASET, self._workspace.suites)

    def close(self) -> None:
        """Log out, where somebody is logged in."""
        self._opened = None
        self._stack.close()


def read_bookings(
    source: Source, workspace: Workspace, batch: Batch, bookings: Collection[int], service: KeyService
) -> Read:
    """What the source knows of bookings at this moment; the key service tells who was erased.

    Raises SourceUnavailableError, GapError, ClockError.
    """
    with source.snapshot() as snapshot:
        at = workspace.require_one_time_with(snapshot, batch)
        sources.check_schema(snapshot.columns(), workspace.policy, batch.label)
        now = workspace.clock()
        # A little further than now: what was recorded since the clocks were compared counts too.
        known = UpTo(now.date(), workspace.policy.time_zone, max(at, now) + timedelta(minutes=1))
        found = {table: snapshot.table(table, known, bookings) for table in _tables(workspace)}
        clients = found["bookings"]["bookings.client_id"].drop_null().unique().to_pylist()
        over = workspace.policy.value("restriction_over")
        grounds = snapshot.as_of("share_grounds", max(at, now), clients, over)
        erased = _erased(workspace, snapshot, known, found, service)
    judge = _Judge(workspace, source.suite, found)
    return Read(
        Reading(
            bookings=found["bookings"],
            travellers=found["booking_travellers"],
            services=found["booking_services"],
            grounds=grounds,
            passing={table: judge.keys(table, RULES) for table in ("bookings", "booking_travellers")},
            erased=erased,
            with_cards=_with_cards(judge),
        ),
        at,
    )


def parts(items: Collection[T]) -> Iterator[list[T]]:
    """As many at once as memory allows."""
    listed = list(items)
    return (listed[at : at + AT_ONCE] for at in range(0, len(listed), AT_ONCE))


def _tables(workspace: Workspace) -> list[str]:
    return [name for name in workspace.policy.dataset(DATASET).landed if name != "payment_cards"]


@dataclass(frozen=True)
class _Judge:
    """What was found, by landed table, and the suite that judges it as it did when it was validated."""

    workspace: Workspace
    suite: Mapping[str, Any]
    found: Mapping[str, pa.Table]

    def keys(self, table: str, clauses: Collection[str]) -> pa.ChunkedArray:
        """Row keys of a table that break no rule of these clauses."""
        landed = self.workspace.policy.dataset(DATASET).landed[table]
        parts = self.found[table].combine_chunks().to_batches()
        passing = (judging.passing_keys(part, table, landed, self.suite, clauses) for part in parts)
        return pa.chunked_array(passing, pa.string())


def _with_cards(judge: _Judge) -> set[str]:
    """Row keys of booking versions of which a text holds a card number or its code."""
    keys = {"bookings": "row_key", "booking_services": "root_key"}
    roots: set[str] = set()
    for table, key in keys.items():
        rows, passed = judge.found[table], judge.keys(table, CARDS).combine_chunks()
        failed = pc.invert(pc.is_in(rows["row_key"], passed, skip_nulls=True))
        roots.update(rows[key].filter(failed).to_pylist())
    return roots


def _erased(
    workspace: Workspace, snapshot: Snapshot, known: UpTo, found: dict[str, pa.Table], service: KeyService
) -> set[str]:
    """Row keys of booking versions of which the client, or somebody who travels, was erased since they began."""
    bookings, travellers = found["bookings"], found["booking_travellers"]
    scopes = travellers["traveller_ref"]
    clients, people = (set(refs.drop_null().unique().to_pylist()) for refs in (bookings["client_ref"], scopes))
    all_at_once = ended_keys(service, clients | people)
    adult_years = int(workspace.policy.value("adult_years"))
    gone: set[str] = set()
    if of_clients := sorted(all_at_once.keys() & clients):
        accepted = subjects.acceptances_of_adults(snapshot.acceptances(known, of_clients), adult_years)
        gone |= _of_clients(bookings, of_clients, accepted, service)
    if ended := {scope: all_at_once[scope] for scope in all_at_once.keys() & people}:
        recorded = pa.array([known.day] * travellers.num_rows, pa.date32())
        born = travellers["booking_travellers.birth_date"].combine_chunks()
        booked = travellers["booked_date"].combine_chunks()
        are_adults = pc.invert(judging.are_minors(born, recorded, booked, adult_years))
        made = _made(service, [f"{scope}{subjects.AS_AN_ADULT}" for scope in ended])
        named = subjects.as_adults(scopes.combine_chunks(), are_adults, made)
        all_ended = {**ended, **ended_keys(service, made)}
        gone |= set(travellers["root_key"].filter(pc.is_in(named, pa.array(sorted(all_ended)))).to_pylist())
    return gone


def _of_clients(
    bookings: pa.Table, ended: Sequence[str], accepted: Mapping[str, Sequence[datetime]], service: KeyService
) -> set[str]:
    """Row keys of booking versions of clients whose first keys are destroyed, but those that came after they began
    anew."""
    living = subjects.begun_anew(ended, lambda names: ended_keys(service, names), accepted)
    begun_at = bookings["begun_at"].combine_chunks()
    now = subjects.renamed(
        bookings["client_ref"].combine_chunks(), begun_at, {scope: living.get(scope) for scope in ended}
    )
    return set(bookings["row_key"].filter(pc.is_in(now, pa.array(ended))).to_pylist())


def ended_keys(service: KeyService, scopes: Collection[str]) -> dict[str, datetime]:
    """When the keys of scopes of subjects were destroyed, of those whose key is: the tombstone. Opens none."""
    by_id = {service.id_of(KIND, scope): scope for scope in scopes}
    destroyed = service.store.destroyed(by_id).values()
    return {by_id[key.id]: datetime.fromtimestamp(key.destroyed_at or 0, UTC) for key in destroyed}


def _made(service: KeyService, scopes: Collection[str]) -> set[str]:
    """Those of scopes for which a key was ever made."""
    by_id = {service.id_of(KIND, scope): scope for scope in scopes}
    return {by_id[id] for id in service.store.fetch(list(by_id))}
