"""What recipients hold and may not use any more: owed from when it is seen, and told by signed notices (F1, M1).

To owe needs neither contract, certificate nor outbox, nor that the recipient is still in the register: whatever keeps
it from being told now, what it has to be told is on the record, with a date. Source: GDPR articles 7(3), 19.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import rfc8785

from governance import obligations, patience, subjects
from governance.database import translated
from governance.keys import KeyService
from governance.obligations import Reason as Obliged
from governance.recording import Recorded, new_id
from governance.run_log import Entry, Outcome
from governance.sharing import ledger, portions, recipients
from governance.sharing.certificate_folder import Kept
from governance.sharing.eligibility import DELETING, REVOKING, Asked, Reason, ended
from governance.sharing.ledger import Owed
from governance.sharing.manifests import REVOCATION
from governance.steps.delivering import Content, Desk
from governance.steps.reading_source import ended_keys, parts, read_bookings
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

SEES = "coordinator"
NOBODY = 0
"""No provider's number: what names whoever is in the register no more is not looked at."""


@dataclass(frozen=True)
class Holder:
    """A recipient of earlier deliveries, the kind of services that it provides, and its number at the source."""

    recipient_id: str
    kind: str  # 'health' | 'travel'
    provider_id: int = NOBODY

    @property
    def among(self) -> tuple[Reason, ...]:
        """What takes back what it holds."""
        return tuple(reason for reason in REVOKING if self.provider_id != NOBODY or reason is not Reason.NOT_NAMED)


@dataclass(frozen=True)
class Holdings:
    """What one recipient holds, and what is needed to hold it against the source."""

    workspace: Workspace
    recorded: Recorded
    connection: Warehouse
    service: KeyService
    holder: Holder

    def owe(self) -> int:
        """Owe the recipient word of all that it may not use any more; returns how much of that is new.

        Who was told to restrict a use, or of a cancellation, is told again of what has to be deleted.
        """
        with self.connection.ending() as (cursor, append):
            raised = ledger.supersede(cursor, self.holder.recipient_id)
            if raised:
                append(self._entry("superseded", raised))
            held = ledger.held(cursor, self.holder.recipient_id)
            told = ledger.told(cursor, self.holder.recipient_id)
        for versions, among in ((held, self.holder.among), (told, DELETING)):
            raised += sum(self._owe(dict(part), among) for part in parts(versions.items()))
        return raised

    def forget(self) -> int:
        """Blank the numbers of clients who were erased, once the recipient has acknowledged that it was told: until
        then they find whom to tell (GDPR articles 17(1), 19). What stays, to show that it was, are keyed references.
        Returns how many rows."""
        with self.connection.ending() as (cursor, _):
            told = {f"client {client}": client for client in ledger.told_of_erasure(cursor, self.holder.recipient_id)}
        destroyed = ended_keys(self.service, told)
        erased = {told[scope]: at + subjects.TO_THE_SECOND for scope, at in destroyed.items()}
        if not erased:
            return 0
        with self.connection.ending() as (cursor, append):
            rows = ledger.forget(cursor, self.holder.recipient_id, erased)
            if rows:
                details = {"recipient": self.holder.recipient_id}
                entry = self.recorded.outcome_of(
                    new_id(), "forget", Outcome.PASSED, details=details, counts={"rows": rows}
                )
                append(entry)
        return rows

    def _owe(self, versions: Mapping[int, int], among: Sequence[Reason]) -> int:
        read = read_bookings(self.workspace, self.recorded.attempt.batch, versions, self.service)
        asked = Asked(versions, self.holder.provider_id, self.holder.kind, frozenset(versions))
        by_obligation: dict[Obliged, list[int]] = {}
        for booking, obliged in ended(read.reading, asked, among).items():
            by_obligation.setdefault(obliged, []).append(booking)
        raised = 0
        for obliged, bookings in sorted(by_obligation.items()):
            with self.connection.ending() as (cursor, append):
                number = obligations.raise_for(cursor, bookings, obliged, self.holder.recipient_id)
                if number:
                    append(self._entry(obliged, number, read_at=read.at.isoformat()))
            raised += number
        return raised

    def _entry(self, obliged: Obliged, number: int, **facts: str) -> Entry:
        details = {"recipient": self.holder.recipient_id, "obligation": obliged, **facts}
        return self.recorded.outcome_of(
            new_id(), "oblige", Outcome.PASSED, details=details, counts={"obligations": number}
        )


def tell(desk: Desk, owed: Sequence[Owed]) -> Mapping[str, int]:
    """A notice of all that is owed. It needs a certificate, and no agreement: whoever holds data has to be told."""
    now = desk.workspace.clock()
    kept = desk.workspace.certificates().current(desk.recipient_id)
    recipients.require_certificate(desk.recipient_id, kept.certificate if kept else None, now)
    facts = [[one.booking_reference, one.reason, one.raised_at.isoformat()] for one in owed]
    content = Content(
        kind=REVOCATION,
        digest=hashlib.sha256(rfc8785.dumps(facts)).hexdigest(),
        fields=portions.NOTICE_FIELDS,
        count=sum(len(one.rows) for one in owed),
        files={portions.MEDIA_TYPES["jsonl"]: portions.revocations(owed, desk.recipient_id)},
        read_at=now,
        replaces=tuple(sorted({delivery for one in owed for delivery in one.deliveries})),
    )
    desk.deliver(content, cast(Kept, kept), lambda cursor, notice_id: ledger.tell(cursor, notice_id, owed, now))
    return {"notices": 1, "revoked": len(owed)}


def former(workspace: Workspace) -> list[Holder]:
    """Who was sent bookings and is in the register no more. Raises WarehouseUnavailableError."""
    with (
        translated("deliveries"),
        closing(patience.connect(workspace.warehouse_dsn(SEES))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        found = ledger.holders(cursor)
    kinds = workspace.policy.sharing.kinds
    return [
        Holder(name, kinds[kind].provider)
        for name, kind in found.items()
        if name not in workspace.policy.all_recipients and kind in kinds
    ]
