"""One delivery: announced in the log, put into the outbox, closed; or, by the next try, found there or given up (F1).

An outbox is no part of our transaction. So a delivery is announced before, with the digest of its manifest, and closed
after; whatever stands between the two is settled by the next try, which looks whether the manifest is there. An id
comes from the recipient, the contract and the content, so that the same content is never delivered twice, not even when
our tables were put back to before the first time (E14).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import rfc8785

from governance import log_entries
from governance.errors import GovernanceError, ManifestError
from governance.recording import Recorded, new_id
from governance.run_log import Outcome
from governance.sharing import cms, ledger, manifests
from governance.sharing.certificate_folder import Kept
from governance.sharing.cms import Envelope
from governance.sharing.contracts import Contract
from governance.sharing.identities import Identity
from governance.sharing.ledger import Announced, Cursor, Delivery
from governance.sharing.manifests import MANIFEST, SIGNATURE, Manifest, Part
from governance.sharing.outbox import Outbox
from governance.sharing.register import Recipient
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

EVENT = "deliver"
LOG_READER = "sequencer"
DOUBT = timedelta(days=2)
"""For how long a delivery that was given up is looked for: longer than any try lasts."""

Note = Callable[[Cursor, str], None]
"""What is noted with the announcement of a delivery, given its id."""


@dataclass(frozen=True)
class Content:
    """What is to be delivered: rows, or a notice.

    `digest` stands for all of it in the delivery's id. `files`: chunks of bytes by media type. `rows`: those that the
    recipient will hold, with their keys and references; None of a notice.
    """

    kind: str
    digest: str
    fields: tuple[str, ...]
    count: int
    files: Mapping[str, Iterator[bytes]]
    read_at: datetime
    rows: pd.DataFrame | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Desk:
    """Everything that deliveries to one recipient have in common; its lock is held."""

    workspace: Workspace
    recorded: Recorded
    connection: Warehouse
    outbox: Outbox
    recipient_id: str
    recipient: Recipient
    contract: Contract
    day: date

    # -- what an earlier try has left ----------------------------------------------------------------------------------

    def settle(self) -> int:
        """Close or give up every delivery that was announced and not closed; returns how many were found sent.

        One that was given up lately is looked for again: of two tries the first may have lost its lock with its
        connection, and have put it there after the second had looked.
        """
        with self._transaction() as cursor:
            waiting = ledger.announced(cursor, self.recipient_id, is_sent=False)
            doubtful = ledger.given_up(cursor, self.recipient_id, self.workspace.clock() - DOUBT)
        said = self.outbox.acknowledgements() if waiting or doubtful else {}
        found = {one.delivery_id: self._is_sent(one, said.get(one.delivery_id)) for one in (*waiting, *doubtful)}
        for one in (*waiting, *(one for one in doubtful if found[one.delivery_id])):
            self._note(one, found[one.delivery_id])
        return sum(found.values())

    def _is_sent(self, one: Announced, said: bytes | None) -> bool:
        """Whether a delivery is in the outbox, or its recipient says so: it may have taken it away, and nobody could
        name the digest of what never was there."""
        there = self.outbox.manifest(one.delivery_id)
        if there is not None and hashlib.sha256(there).hexdigest() != one.manifest_sha256:
            raise GovernanceError(
                f"recipient {self.recipient_id}: delivery {one.delivery_id} was announced, and its outbox has another "
                "manifest under that id; nothing was delivered: find out who put it there"
            )
        return there is not None or _is_of(said, one.manifest_sha256)

    def _note(self, one: Announced, is_sent: bool) -> None:
        now = self.workspace.clock()
        with self.connection.ending() as (cursor, append):
            (ledger.close if is_sent else ledger.give_up)(cursor, one.delivery_id, now)
            details = {
                "recipient": self.recipient_id,
                "delivery": one.delivery_id,
                "attempt": one.attempt_id,
                "state": "sent" if is_sent else "given up",
            }
            append(self.recorded.outcome_of(new_id(), "settle_delivery", Outcome.PASSED, details=details))

    def acknowledge(self) -> tuple[int, int]:
        """Note what the recipient has acknowledged; returns how many deliveries, and how many acknowledgements are of
        another manifest, and close nothing."""
        with self._transaction() as cursor:
            waiting = ledger.announced(cursor, self.recipient_id, is_sent=True)
        said = self.outbox.acknowledgements() if waiting else {}
        done = [one for one in waiting if _is_of(said.get(one.delivery_id), one.manifest_sha256)]
        for one in done:
            with self.connection.ending() as (cursor, append):
                met = ledger.acknowledge(cursor, one.delivery_id, self.workspace.clock())
                details = {"recipient": self.recipient_id, "delivery": one.delivery_id}
                entry = self.recorded.outcome_of(
                    new_id(), "acknowledge", Outcome.PASSED, details=details, counts={"obligations_met": met}
                )
                append(entry)
        return len(done), sum(one.delivery_id in said for one in waiting) - len(done)

    def discard_drafts(self) -> None:
        """Take away what killed tries have left on this machine: ciphertext."""
        lefts = Path(tempfile.gettempdir()).glob(f"delivery-*.{self.recipient_id}.*")
        for left in (one for one in lefts if one.name.startswith(self._drafts)):
            with suppress(OSError), _locked(left):  # by one that lives, and has lost the recipient's lock
                shutil.rmtree(left, ignore_errors=True)

    @property
    def _drafts(self) -> str:
        """How folders in which deliveries to this recipient are made begin; an identity is of one site."""
        return f"delivery-{self.workspace.identity().fingerprint[:16]}.{self.recipient_id}."

    # -- a delivery ----------------------------------------------------------------------------------------------------

    def deliver(self, content: Content, kept: Kept, note: Note = lambda cursor, delivery_id: None) -> str:
        """Deliver once; returns the id. `note`: what else is noted with the announcement, in its transaction.

        Raises RecipientError, SealingError, EndpointUnavailableError, SealingUnavailableError, GovernanceError.
        """
        delivery_id = self.id_of(content)
        identity = self.workspace.identity()
        if (there := self.outbox.manifest(delivery_id)) is not None:
            self._adopt(delivery_id, there, content, note)
            return delivery_id
        if content.rows is not None:
            self._require_known()
        attempt_id = new_id()
        with tempfile.TemporaryDirectory(prefix=self._drafts) as folder, _locked(Path(folder)):
            manifest, files = self._sealed(delivery_id, content, kept, identity, Path(folder))
            delivery = self._delivery(manifest, content, attempt_id)
            attempt = replace(self.recorded.attempt, attempt_id=attempt_id, event=EVENT)
            with self.connection.ending() as (cursor, append):
                ledger.announce(cursor, delivery, content.rows)
                note(cursor, delivery_id)
                append(attempt.intent(entry_id=new_id(), at=self.workspace.clock(), **_told(delivery)))
            self.outbox.put(delivery_id, files)
        self._close(delivery)
        return delivery_id

    def id_of(self, content: Content) -> str:
        """64 hex digits: of recipient, contract and content alone, whenever and however often it is delivered."""
        what = [self.recipient_id, self.contract.kind, self.contract.version, content.kind, content.digest]
        return hashlib.sha256(rfc8785.dumps(what)).hexdigest()

    def _sealed(
        self, delivery_id: str, content: Content, kept: Kept, identity: Identity, folder: Path
    ) -> tuple[Manifest, dict[str, Path]]:
        part_bytes = self.workspace.policy.sharing.part_bytes
        envelope = Envelope(self.recipient_id, kept.pem.decode("ascii"), identity, self.workspace.clock(), part_bytes)
        parts: list[Part] = []
        for number, (media_type, chunks) in enumerate(content.files.items(), start=1):
            parts += cms.seal(chunks, folder, f"{content.kind}-{number}", media_type, envelope)
        manifest = Manifest(
            delivery_id=delivery_id,
            kind=content.kind,
            recipient=self.recipient_id,
            contract_kind=self.contract.kind,
            contract_version=self.contract.version,
            purpose=self.contract.purpose,
            lawful_basis="; ".join(self.contract.lawful_basis),
            fields=content.fields,
            rows=content.count,
            parts=tuple(parts),
            created_at=self.workspace.clock().replace(microsecond=0),
            signer_fingerprint=identity.fingerprint,
            recipient_fingerprint=kept.certificate.fingerprint,
            replaces=content.replaces,
        )
        said = manifest.canonical()
        (folder / MANIFEST).write_bytes(said)
        (folder / SIGNATURE).write_bytes(cms.sign(said, identity))
        return manifest, {name: folder / name for name in (*(part.name for part in parts), MANIFEST, SIGNATURE)}

    def _delivery(self, manifest: Manifest, content: Content, attempt_id: str) -> Delivery:
        return Delivery(
            delivery_id=manifest.delivery_id,
            recipient_id=self.recipient_id,
            kind=manifest.kind,
            partition=self.day,
            contract_kind=manifest.contract_kind,
            contract_version=manifest.contract_version,
            purpose=manifest.purpose,
            lawful_basis=self.contract.lawful_basis,
            fields=manifest.fields,
            rows=manifest.rows,
            excluded=content.excluded,
            plaintext_sha256=tuple(part.plaintext_sha256 for part in manifest.parts),
            ciphertext_sha256=tuple(part.sha256 for part in manifest.parts),
            references_sha256=ledger.digest_of(content.rows) if content.rows is not None else content.digest,
            manifest_sha256=hashlib.sha256(manifest.canonical()).hexdigest(),
            certificate_fingerprint=manifest.recipient_fingerprint,
            read_at=content.read_at,
            attempt_id=attempt_id,
        )

    def _adopt(self, delivery_id: str, there: bytes, content: Content, note: Note) -> None:
        """What is in the outbox already, and our tables do not know: they were put back to before it was delivered."""
        try:
            manifest = manifests.parse(there)
        except ManifestError:
            raise _strange(self.recipient_id, delivery_id) from None
        if (manifest.delivery_id, manifest.recipient) != (delivery_id, self.recipient_id):
            raise _strange(self.recipient_id, delivery_id)
        attempt_id = new_id()
        delivery = self._delivery(manifest, content, attempt_id)
        with self.connection.ending() as (cursor, append):
            ledger.announce(cursor, delivery, content.rows)
            note(cursor, delivery_id)
            ledger.close(cursor, delivery_id, self.workspace.clock())
            append(self.recorded.outcome_of(attempt_id, EVENT, Outcome.REPLAYED, **_told(delivery)))

    def _require_known(self) -> None:
        """Raise GovernanceError where the outbox has deliveries that our tables do not know: they were put back to
        before, and who is in these might get it twice, under another id. What retention has ended since is known."""
        there, policy = self.outbox.deliveries(), self.workspace.policy
        with self._transaction() as cursor:
            strange = there - ledger.known(cursor, self.recipient_id, there)
        if strange:
            ended = self.workspace.clock() - timedelta(days=float(policy.value("booking_days")))
            strange -= log_entries.delivered(self.workspace.warehouse_dsn(LOG_READER), strange, ended)
        if strange:
            raise GovernanceError(
                f"recipient {self.recipient_id}: its outbox holds {len(strange)} deliveries that our tables do not "
                f"know ({min(strange)}); were they put back to before these? nothing new was delivered, lest somebody "
                "gets it twice: put back what is newer, or have the recipient discard these, and move them away"
            )

    def _close(self, delivery: Delivery) -> None:
        with self.connection.ending() as (cursor, append):
            ledger.close(cursor, delivery.delivery_id, self.workspace.clock())
            append(self.recorded.outcome_of(delivery.attempt_id, EVENT, Outcome.PASSED, **_told(delivery)))

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with self.connection.ending() as (cursor, _):
            yield cursor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder, for as long as this process lives at most. Raises BlockingIOError where another one does."""
    opened = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)  # no file in it, where somebody may have laid a link
    with ExitStack() as stack:
        stack.callback(os.close, opened)
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _told(delivery: Delivery) -> dict[str, Any]:
    """The facts of a delivery as entries have them: names, counts and digests."""
    details = {
        "recipient": delivery.recipient_id,
        "delivery": delivery.delivery_id,
        "kind": delivery.kind,
        "contract": f"{delivery.contract_kind} {delivery.contract_version}",
        "purpose": delivery.purpose,
        "lawful_basis": "; ".join(delivery.lawful_basis),
        "fields": " ".join(delivery.fields),
        "plaintext_sha256": " ".join(delivery.plaintext_sha256),
        "ciphertext_sha256": " ".join(delivery.ciphertext_sha256),
        "references_sha256": delivery.references_sha256,
        "manifest_sha256": delivery.manifest_sha256,
        "certificate_fingerprint": delivery.certificate_fingerprint,
        "read_at": delivery.read_at.isoformat(),
    }
    counts = {"rows": delivery.rows, **{f"excluded {reason}": n for reason, n in delivery.excluded.items()}}
    return {"details": details, "counts": counts}


def _is_of(said: bytes | None, manifest_sha256: str) -> bool:
    """Whether an acknowledgement is of this manifest: it begins with its digest in hex, as `sha256sum` prints it."""
    return said is not None and said.lower().split()[:1] == [manifest_sha256.encode()]


def _strange(recipient: str, delivery_id: str) -> GovernanceError:
    return GovernanceError(
        f"recipient {recipient}: its outbox has something else under the id of delivery {delivery_id}; nothing was "
        "delivered: find out who put it there, and move it away"
    )
