"""The certificates that deliveries are encrypted to: a recipient's first, another one, one that is revoked (F1, H1).

They lie in a folder outside every database, so the entry that announces a change is written before it and closed after
it; who was killed in between gives the same command again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from governance import door
from governance.errors import InputError
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.sharing.certificate_folder import Changed
from governance.sharing.certificates import certificate
from governance.sharing.recipients import registered, require_certificate
from governance.steps.workspace import Workspace

DATASET = "recipients"
CLAUSES = ("F1", "H1")
UNKNOWN = "unknown"
"""Stands in the log for whoever is not registered: what somebody typed may be anything."""


@dataclass(frozen=True)
class CertificateChange:
    """What is to be done with a certificate of a recipient."""

    act: Literal["add", "rotate", "revoke"]
    recipient: str
    pem: bytes | None = None  # of one to add or rotate to
    fingerprint: str | None = None  # of one to revoke, or its first digits; without it the current one
    reason: str | None = None  # of a revocation


def change_certificate(workspace: Workspace, change: CertificateChange, run: Run) -> Changed:
    """Add, rotate or revoke a certificate of a registered recipient.

    Raises RecipientError for whoever is not registered and for a certificate to which nothing could be encrypted now;
    CertificateError for a file that holds none, or one of another; InputError; WarehouseUnavailableError, ClockError.
    """
    policy, now = workspace.policy, workspace.clock()
    name = change.recipient if change.recipient in policy.all_recipients else UNKNOWN
    batch = Batch(DATASET, name, run.run_id)
    digests = Digests(policy.digest, None, code_digest())
    attempt = Attempt(new_id(), f"{change.act}_certificate", batch, run, digests, CLAUSES)
    dsn = workspace.warehouse_dsn(door.RECORDER)
    with Recorded(attempt, dsn=dsn, clock=workspace.clock, texts=policy.texts) as recorded:
        workspace.require_one_time(batch)
        registered(policy.all_recipients, change.recipient)
        folder = workspace.certificates()
        before = folder.current(change.recipient)
        if change.act == "revoke":
            if not change.reason:
                raise InputError(f"recipient {name}: say why its certificate is revoked")
            changed = folder.revoke(change.recipient, change.fingerprint, now, change.reason)
        else:
            pem = change.pem or b""
            require_certificate(change.recipient, certificate(pem), now)
            change_to = folder.add if change.act == "add" else folder.rotate
            changed = change_to(change.recipient, pem, now)
        outcome = Outcome.PASSED if changed.is_new else Outcome.REPLAYED
        details = _details(changed) | ({"before": before.certificate.fingerprint} if before else {})
        recorded.append(recorded.outcome(outcome, reason=change.reason, details=details))
    return changed


def _details(changed: Changed) -> dict[str, str]:
    """Of a certificate what the log keeps: whom it names is none of it."""
    found = changed.certificate
    is_demo = {"demo": "yes"} if found.is_demo else {}
    return {"fingerprint": found.fingerprint, "not_after": f"{found.not_after:%Y-%m-%dT%H:%M:%SZ}", **is_demo}
