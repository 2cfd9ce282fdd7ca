"""Accepted bookings to the providers that they name: only what the contract says, once, encrypted, provable (F1 H1 N1).

For each recipient of the register, one after the other, each a try of its own, so that one which halts keeps no other
from its deliveries: what an earlier try has left is settled, acknowledgements are noted, what the recipient holds is
held against the source, and what it may not use any more it is told (notices), and at last it gets what is new.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import TypeVar, cast
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from governance import door, obligations, schema, warehouse
from governance.errors import ContractError, GovernanceError, TransientError
from governance.keys import KeyService
from governance.obligations import Reason as Obliged
from governance.recording import Recorded, new_id
from governance.run_log import Batch, Outcome, Run
from governance.sharing import contracts, ledger, portions, recipients
from governance.sharing.certificate_folder import Kept
from governance.sharing.eligibility import REVOKING, Asked, Reading, Reason, judged, offered
from governance.sharing.ledger import Candidate, Owed
from governance.sharing.manifests import REVOCATION, ROWS
from governance.sharing.recipients import HaltedBy, HaltedError
from governance.sharing.references import referenced
from governance.sharing.register import Recipient
from governance.steps import doubting, rounds
from governance.steps.delivering import Content, Desk
from governance.steps.reading_source import DATASET, Read, read_bookings
from governance.steps.rounds import Round
from governance.steps.workspace import Workspace

ROLE, PURPOSE = "sharer", "contract"
T = TypeVar("T")
READS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "vault.bookings": ("booking_id", "row_key", "version"),
        "vault.booking_services": ("provider_id", "root_key", "starts_on"),
        "sharing.delivered_rows": (
            "booking_id",
            "booking_reference",
            "person_reference",
            "service_reference",
            "version",
        ),
        "sharing.obligations": ("booking_reference", "delivery_id", "reason"),
    }
)
FORMS: Mapping[str, tuple[portions.Form, ...]] = MappingProxyType(
    {"health_provider": ("fhir",), "travel_provider": ("jsonl", "csv")}
)
"""How rows are written for each kind of recipient."""
EXCLUDED = "excluded"
AT_ONCE = 5_000
"""Bookings that are read, judged and delivered together: what bounds memory, and the size of a delivery."""


def share(workspace: Workspace, key: str | None, run: Run) -> dict[str, int]:
    """Deliver to every recipient what it has not had, up to a partition; returns counts over all of them.

    Raises, at the end, the first lasting error of a recipient, else the first transient one: PartitionError,
    HaltedError, ContractError, SealingError, SourceUnavailableError, EndpointUnavailableError, ContendedError.
    """
    partition = workspace.partition(DATASET, key)
    if not workspace.policy.all_recipients:
        recorded = rounds.recorded(workspace, Batch(DATASET, partition.key, run.run_id), run)
        recorded.append(recorded.outcome(Outcome.NO_DATA, reason="nobody is registered"))
        return {}
    counts: Counter[str] = Counter()
    errors: list[GovernanceError] = []
    with rounds.begun(workspace, partition, run) as round:
        for name in workspace.policy.all_recipients:
            try:
                counts.update(_Turn(round, name).taken())
            except GovernanceError as error:
                errors.append(error)
    if errors:
        raise next((error for error in errors if not isinstance(error, TransientError)), errors[0])
    return dict(counts)


@dataclass(frozen=True)
class _Turn:
    """One recipient's turn."""

    round: Round
    name: str

    @property
    def _recipient(self) -> Recipient:
        return self.round.workspace.policy.all_recipients[self.name]

    def taken(self) -> Mapping[str, int]:
        """Settle, note, tell and deliver, as one recorded try; returns counts."""
        workspace = self.round.workspace
        with rounds.recorded(workspace, self.round.batch, self.round.run) as recorded:
            attempt = recorded.attempt
            details = {"recipient": self.name}
            recorded.append(attempt.intent(entry_id=new_id(), at=workspace.clock(), details=details))
            recorded.facts["details"] = details
            workspace.require_one_time(attempt.batch)
            with self._desk(recorded) as (desk, service):
                counts = _Work(self.round, desk, service, recorded).done()
            is_done = any(not name.startswith(EXCLUDED) for name in counts)  # all left out is no success (E16)
            outcome = Outcome.PASSED if is_done else Outcome.NO_DATA
            recorded.append(recorded.outcome(outcome, details=details, counts=counts))
        return counts

    @contextmanager
    def _desk(self, recorded: Recorded) -> Iterator[tuple[Desk, KeyService]]:
        """The recipient's lock, a connection as the role that shares, its outbox and its keys."""
        workspace, recipient, label = self.round.workspace, self._recipient, recorded.attempt.batch.label
        try:
            contract = self.round.contract(recipient)
        except ContractError:
            recorded.facts["details"] = {"recipient": self.name, "halted_by": HaltedBy.CONTRACT_UNKNOWN}
            raise
        with ExitStack() as stack:
            lent = stack.enter_context(door.lent(workspace, recorded.attempt, ROLE, READS))
            connection = stack.enter_context(warehouse.connect(lent.dsn, label))
            schema.require(connection, workspace.policy, label)
            stack.enter_context(connection.exclusive(Batch("provider_sharing", self.name, "")))
            service = workspace.keys()
            stack.callback(service.close)
            outbox = workspace.outbox(self.name, recipient.endpoint)
            desk = Desk(
                workspace, recorded, connection, outbox, self.name, recipient, contract, self.round.partition.day
            )
            yield desk, service


@dataclass
class _Work:
    """What is done in one turn, step by step."""

    round: Round
    desk: Desk
    service: KeyService
    recorded: Recorded

    def done(self) -> dict[str, int]:
        """Counts of deliveries, rows, notices, acknowledgements, and bookings that were left out by reason."""
        desk = self.desk
        desk.outbox.discard_drafts()
        counts: Counter[str] = Counter(found_sent=desk.settle())
        counts["acknowledged"], counts["strange_acknowledgements"] = desk.acknowledge()
        with desk.connection.ending() as (cursor, _):
            held = ledger.held(cursor, desk.recipient_id)
        doubts = doubting.in_doubt(self.round, desk.connection, self.service) if held else frozenset()
        doubtful = [(booking, version) for booking, version in held.items() if booking in doubts]
        counts["obligations"] = sum(self._held_against_source(dict(part)) for part in _parts(doubtful))
        with desk.connection.ending() as (cursor, _):
            owed = ledger.owed(cursor, desk.recipient_id)
            new = ledger.candidates(cursor, desk.recipient_id, desk.recipient.provider_id, self._first_day())
        new = [one for one in new if one.partition <= self.round.partition.day]
        self.recorded.facts["counts"] = dict(counts)
        if owed:
            counts.update(self._tell(owed))
        for part in _parts(new):
            counts.update(self._deliver(part))
            self.recorded.facts["counts"] = dict(counts)
        return {name: number for name, number in counts.items() if number}

    def _first_day(self) -> date:
        """Services before it are over; what a provider would get of them it does not need."""
        workspace = self.desk.workspace
        today = workspace.clock().astimezone(ZoneInfo(workspace.policy.time_zone)).date()
        return today - timedelta(days=int(workspace.policy.value("sharing_days_after_service")))

    # -- what is new ---------------------------------------------------------------------------------------------------

    def _deliver(self, candidates: Sequence[Candidate]) -> Mapping[str, int]:
        """One delivery of these booking versions, of as many as may go."""
        desk, versions = self.desk, {one.booking_id: one.version for one in candidates}
        kept = self._standing()
        asked = self._asked(versions, self._validated(candidates))
        read = self._read(versions)
        reasons = judged(read.reading, asked)
        may_go = frozenset(booking for booking, reason in reasons.items() if reason is None)
        rows, incomplete = self._rows(read.reading, asked, may_go)
        excluded = Counter(str(reason) for reason in reasons.values() if reason)
        excluded.update({Reason.INCOMPLETE: len(incomplete)} if incomplete else {})
        counts = {f"{EXCLUDED} {reason}": number for reason, number in excluded.items()}
        if rows.empty:
            return counts
        content = self._content(rows, read, excluded)
        desk.deliver(content, kept)
        return {**counts, "deliveries": 1, "rows": len(rows), "bookings": rows["booking_id"].nunique()}

    def _rows(self, reading: Reading, asked: Asked, bookings: frozenset[int]) -> tuple[pd.DataFrame, set[int]]:
        """Rows with their references, and the bookings that lack something required, which stay out as a whole."""
        desk = self.desk
        keys = self.service.acting(ROLE, PURPOSE, self.recorded.refused)
        table = referenced(offered(reading, asked, bookings), keys.key("reference", desk.recipient_id))
        with desk.connection.ending() as (cursor, _):
            held = ledger.held(cursor, desk.recipient_id)
        had = pc.index_in(table["booking_id"], pa.array(held.keys(), pa.int64()))
        table = table.append_column("replaces_version", pa.array(held.values(), pa.int64()).take(had))
        rows: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
        lacking = contracts.incomplete(desk.contract, rows, desk.recipient.options)
        incomplete = set(rows["booking_id"][lacking])
        return rows[~rows["booking_id"].isin(incomplete)].reset_index(drop=True), incomplete

    def _content(self, rows: pd.DataFrame, read: Read, excluded: Mapping[str, int]) -> Content:
        desk = self.desk
        projected = contracts.projected(desk.contract, rows, desk.recipient.options)
        bookings = rows["booking_id"].unique().tolist()
        with desk.connection.ending() as (cursor, _):
            again = ledger.notices_before(cursor, desk.recipient_id, bookings)
            replaced = ledger.deliveries_of(cursor, desk.recipient_id, bookings)
        context = self._context(read)
        sliced = list(portions.slices(projected, context))
        lines = list(portions.written(sliced, "jsonl", context))
        digest = hashlib.sha256(b"".join(lines)).hexdigest()
        return Content(
            kind=ROWS,
            digest=hashlib.sha256(rfc8785.dumps([digest, sum(again.values())])).hexdigest(),
            fields=tuple(projected.columns),
            count=len(projected),
            files={
                portions.MEDIA_TYPES[form]: iter(lines) if form == "jsonl" else portions.written(sliced, form, context)
                for form in FORMS[desk.contract.kind]
            },
            read_at=read.at,
            rows=rows,
            excluded=excluded,
            replaces=tuple(replaced),
        )

    def _context(self, read: Read) -> portions.Context:
        contract = self.desk.contract
        return portions.Context(self.desk.recipient_id, contract.purpose, contract.lawful_basis, read.at)

    def _standing(self) -> Kept:
        """The certificate to encrypt to, of a recipient that may have something now. Raises HaltedError."""
        desk, workspace = self.desk, self.desk.workspace
        kept = workspace.certificates().current(desk.recipient_id)
        register = workspace.policy.all_recipients
        try:
            found = kept.certificate if kept else None
            recipients.standing(register, desk.recipient_id, found, self.round.terms, workspace.clock())
        except HaltedError as halted:
            self.recorded.facts["details"] = {"recipient": desk.recipient_id, "halted_by": halted.halted_by}
            raise
        return cast(Kept, kept)  # a recipient without one has no standing

    def _asked(self, versions: Mapping[int, int], validated: Collection[int]) -> Asked:
        kind = self.desk.workspace.policy.sharing.kinds[self.desk.recipient.kind].provider
        return Asked(versions, self.desk.recipient.provider_id, kind, frozenset(validated))

    def _validated(self, candidates: Sequence[Candidate]) -> set[int]:
        """Bookings whose partition was validated, by the log."""
        return {one.booking_id for one in candidates if one.partition.isoformat() in self.round.validated}

    def _read(self, bookings: Collection[int]) -> Read:
        return read_bookings(self.round.source, self.round.workspace, self.round.batch, bookings, self.service)

    # -- what is held and may not be used any more ---------------------------------------------------------------------

    def _held_against_source(self, held: Mapping[int, int]) -> int:
        """Owe the recipient word of every booking that it holds and may not use any more; returns how many are new."""
        read = self._read(held)
        reasons = judged(read.reading, self._asked(held, held))
        by_obligation: dict[Obliged, list[int]] = {}
        for booking, reason in reasons.items():
            if reason and reason in REVOKING:
                by_obligation.setdefault(REVOKING[reason], []).append(booking)
        raised = 0
        for obliged, bookings in sorted(by_obligation.items()):
            with self.desk.connection.ending() as (cursor, append):
                number = obligations.raise_for(cursor, bookings, obliged, self.desk.recipient_id)
                details = {"recipient": self.desk.recipient_id, "obligation": obliged, "read_at": read.at.isoformat()}
                entry = self.recorded.outcome_of(
                    new_id(), "oblige", Outcome.PASSED, details=details, counts={"obligations": number}
                )
                append(entry)
            raised += number
        return raised

    def _tell(self, owed: Sequence[Owed]) -> Mapping[str, int]:
        """A notice of all that is owed. It needs a certificate, and no agreement: whoever holds data has to be told."""
        desk, now = self.desk, self.desk.workspace.clock()
        kept = desk.workspace.certificates().current(desk.recipient_id)
        recipients.require_certificate(desk.recipient_id, kept.certificate if kept else None, now)
        notice = portions.revocations(owed, desk.recipient_id)
        facts = [[one.booking_reference, one.reason, one.raised_at.isoformat()] for one in owed]
        content = Content(
            kind=REVOCATION,
            digest=hashlib.sha256(rfc8785.dumps(facts)).hexdigest(),
            fields=portions.NOTICE_FIELDS,
            count=sum(len(one.rows) for one in owed),
            files={portions.MEDIA_TYPES["jsonl"]: notice},
            read_at=now,
            replaces=tuple(sorted({delivery for one in owed for delivery in one.deliveries})),
        )
        desk.deliver(content, cast(Kept, kept), lambda cursor, notice_id: ledger.tell(cursor, notice_id, owed, now))
        return {"notices": 1, "revoked": len(owed)}


def _parts(items: Collection[T]) -> Iterator[list[T]]:
    """As many at once as memory allows."""
    listed = list(items)
    return (listed[at : at + AT_ONCE] for at in range(0, len(listed), AT_ONCE))
