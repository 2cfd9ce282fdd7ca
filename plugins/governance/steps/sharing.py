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
from typing import cast
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import rfc8785

from governance import door, schema, warehouse
from governance.errors import ContractError, GovernanceError, TransientError
from governance.recording import Recorded, new_id
from governance.run_log import Batch, Outcome, Run
from governance.sharing import contracts, ledger, portions, recipients
from governance.sharing.certificate_folder import Kept
from governance.sharing.eligibility import Asked, Reading, Reason, judged, offered
from governance.sharing.ledger import Candidate
from governance.sharing.manifests import ROWS
from governance.sharing.recipients import HaltedBy, HaltedError
from governance.sharing.references import referenced
from governance.steps import rounds
from governance.steps.delivering import Content, Desk
from governance.steps.reading_source import DATASET, Read, parts, read_bookings
from governance.steps.revoking import Holdings, former, tell
from governance.steps.rounds import Holder, Round
from governance.steps.workspace import Workspace

ROLE, PURPOSE = "sharer", "contract"
READS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "vault.bookings": ("booking_id", "row_key", "version"),
        "vault.booking_services": ("provider_id", "root_key", "starts_on"),
        "sharing.delivered_rows": (
            "booking_id", "booking_reference", "client_id", "person_reference", "service_reference", "version",
        ),
        "sharing.obligations": ("booking_reference", "delivery_id", "reason"),
    }
)  # fmt: skip
FORMS: Mapping[str, tuple[portions.Form, ...]] = MappingProxyType(
    {"health_provider": ("fhir",), "travel_provider": ("jsonl", "csv")}
)
"""How rows are written for each kind of recipient."""
EXCLUDED = "excluded"


def share(workspace: Workspace, key: str | None, run: Run) -> dict[str, int]:
    """Deliver to every recipient what it has not had, up to a partition; returns counts over all of them.

    Raises, at the end, the first lasting error of a recipient, else the first transient one: PartitionError,
    HaltedError, ContractError, SealingError, SourceUnavailableError, EndpointUnavailableError, ContendedError.
    """
    partition = workspace.partition(DATASET, key)
    policy = workspace.policy
    holders = [
        *(
            Holder(name, policy.sharing.kinds[one.kind].provider, one.provider_id)
            for name, one in policy.all_recipients.items()
        ),
        *former(workspace),
    ]
    if not holders:
        recorded = rounds.recorded(workspace, Batch(DATASET, partition.key, run.run_id), run)
        recorded.append(recorded.outcome(Outcome.NO_DATA, reason="nobody is registered"))
        return {}
    counts: Counter[str] = Counter()
    errors: list[GovernanceError] = []
    with rounds.begun(workspace, partition, run, holders) as round:
        for holder in holders:
            try:
                counts.update(_Turn(round, holder).taken())
            except GovernanceError as error:
                errors.append(error)
    if errors:
        raise next((error for error in errors if not isinstance(error, TransientError)), errors[0])
    return dict(counts)


@dataclass(frozen=True)
class _Turn:
    """One recipient's turn, or that of somebody who is in the register no more, and still holds what was delivered."""

    round: Round
    holder: Holder

    @property
    def workspace(self) -> Workspace:
        """What the round works with."""
        return self.round.workspace

    def taken(self) -> Mapping[str, int]:
        """Owe, settle, note, tell and deliver, as one recorded try; returns counts."""
        with rounds.recorded(self.workspace, self.round.batch, self.round.run) as recorded:
            attempt = recorded.attempt
            details = {"recipient": self.holder.recipient_id}
            recorded.append(attempt.intent(entry_id=new_id(), at=self.workspace.clock(), details=details))
            recorded.facts["details"] = details
            self.workspace.require_one_time(attempt.batch)
            with self._holdings(recorded) as holdings:
                counts = Counter(obligations=holdings.owe(), forgotten=holdings.forget())
                recorded.facts["counts"] = dict(counts)  # owed, whatever becomes of the rest
                if self.holder.recipient_id in self.workspace.policy.all_recipients:
                    counts.update(_Work(self.round, self._desk(holdings), holdings).done())
            counts = Counter({name: number for name, number in counts.items() if number})
            is_done = any(not name.startswith(EXCLUDED) for name in counts)  # all left out is no success (E16)
            outcome = Outcome.PASSED if is_done else Outcome.NO_DATA
            recorded.append(recorded.outcome(outcome, details=details, counts=counts))
        return counts

    @contextmanager
    def _holdings(self, recorded: Recorded) -> Iterator[Holdings]:
        """The recipient's lock, a connection as the role that shares, and the keys."""
        workspace, label = self.workspace, recorded.attempt.batch.label
        with ExitStack() as stack:
            lent = stack.enter_context(door.lent(workspace, recorded.attempt, ROLE, READS))
            connection = stack.enter_context(warehouse.connect(lent.dsn, label))
            schema.require(connection, workspace.policy, label)
            stack.enter_context(connection.exclusive(Batch("provider_sharing", self.holder.recipient_id, "")))
            service = workspace.keys()
            stack.callback(service.close)
            yield Holdings(self.round, recorded, connection, service, self.holder)

    def _desk(self, holdings: Holdings) -> Desk:
        """The recipient's contract and outbox. Raises ContractError, RecipientError."""
        workspace, name = self.workspace, self.holder.recipient_id
        recipient = workspace.policy.all_recipients[name]
        try:
            contract = self.round.contract(recipient)
        except ContractError:
            holdings.recorded.facts["details"] = {"recipient": name, "halted_by": HaltedBy.CONTRACT_UNKNOWN}
            raise
        outbox = workspace.outbox(name, recipient.endpoint)
        day = self.round.partition.day
        return Desk(workspace, holdings.recorded, holdings.connection, outbox, name, recipient, contract, day)


@dataclass
class _Work:
    """What is done in one turn, step by step."""

    round: Round
    desk: Desk
    holdings: Holdings

    def done(self) -> dict[str, int]:
        """Counts of deliveries, rows, notices, acknowledgements, and bookings that were left out by reason."""
        desk, recorded = self.desk, self.desk.recorded
        desk.outbox.discard_drafts()
        counts: Counter[str] = Counter(found_sent=desk.settle())
        counts["acknowledged"], counts["strange_acknowledgements"] = desk.acknowledge()
        desk.discard_drafts()
        if counts["acknowledged"]:
            counts["forgotten"] = self.holdings.forget()
        if counts["found_sent"]:  # it holds more than was known when its turn began
            counts["obligations"] = self.holdings.owe()
        with desk.connection.ending() as (cursor, _):
            owed = ledger.owed(cursor, desk.recipient_id)
            new = ledger.candidates(cursor, desk.recipient_id, desk.recipient.provider_id, self._first_day())
        new = [one for one in new if one.partition <= self.round.partition.day]
        recorded.facts["counts"] = dict(counts)
        if owed:
            counts.update(tell(desk, owed))
        for part in parts(new):
            counts.update(self._deliver(part))
            recorded.facts["counts"] = dict(counts)
        return counts

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
        rows, lacking = self._rows(read.reading, asked, may_go)
        excluded = Counter(str(reason) for reason in (*reasons.values(), *lacking.values()) if reason)
        counts = {f"{EXCLUDED} {reason}": number for reason, number in excluded.items()}
        if rows.empty:
            return counts
        content = self._content(rows, read, excluded)
        desk.deliver(content, kept)
        return {**counts, "deliveries": 1, "rows": len(rows), "bookings": rows["booking_id"].nunique()}

    def _rows(self, reading: Reading, asked: Asked, bookings: frozenset[int]) -> tuple[pd.DataFrame, dict[int, Reason]]:
        """Rows with their references; and the bookings that cannot be written as the contract says, which stay out as
        a whole, so that no other waits for them."""
        desk = self.desk
        keys = self.holdings.service.acting(ROLE, PURPOSE, desk.recorded.refused)
        table = referenced(offered(reading, asked, bookings), keys.key("reference", desk.recipient_id))
        with desk.connection.ending() as (cursor, _):
            held = ledger.held(cursor, desk.recipient_id)
        had = pc.index_in(table["booking_id"], pa.array(held.keys(), pa.int64()))
        table = table.append_column("replaces_version", pa.array(held.values(), pa.int64()).take(had))
        rows: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
        unfit = set(rows["booking_id"][contracts.unfit(desk.contract, rows, desk.recipient.options)])
        incomplete = set(rows["booking_id"][contracts.incomplete(desk.contract, rows, desk.recipient.options)])
        incomplete |= bookings - set(rows["booking_id"])  # nobody of it is a patient
        lacking = {**dict.fromkeys(incomplete, Reason.INCOMPLETE), **dict.fromkeys(unfit, Reason.UNFIT)}
        return rows[~rows["booking_id"].isin(lacking)].reset_index(drop=True), lacking

    def _content(self, rows: pd.DataFrame, read: Read, excluded: Mapping[str, int]) -> Content:
        desk = self.desk
        projected = contracts.projected(desk.contract, rows, desk.recipient.options)
        bookings = rows["booking_id"].unique().tolist()
        with desk.connection.ending() as (cursor, _):
            again = ledger.notices_before(cursor, desk.recipient_id, rows["booking_reference"].unique().tolist())
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
            desk.recorded.facts["details"] = {"recipient": desk.recipient_id, "halted_by": halted.halted_by}
            raise
        return cast(Kept, kept)  # a recipient without one has no standing

    def _asked(self, versions: Mapping[int, int], validated: Collection[int]) -> Asked:
        holder = self.holdings.holder
        return Asked(versions, holder.provider_id, holder.kind, frozenset(validated))

    def _validated(self, candidates: Sequence[Candidate]) -> set[int]:
        """Bookings whose partition was validated, by the log."""
        return {one.booking_id for one in candidates if one.partition.isoformat() in self.round.validated}

    def _read(self, bookings: Collection[int]) -> Read:
        return read_bookings(self.round.source, self.round.workspace, self.round.batch, bookings, self.holdings.service)
