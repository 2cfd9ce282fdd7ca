"""The identity that signs deliveries: the first, the next, and the change from one to the other, on the record (F1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from governance import log_entries, warehouse
from governance.errors import IdentityError
from governance.recording import code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.sharing.identities import Identities, Identity
from governance.steps.workspace import Workspace

ROLE = "sequencer"  # it announces the keys of checkpoints too
CREATED, RENEWED, SWITCHED = "create_identity", "renew_identity", "switch_identity"


def first_identity(workspace: Workspace, path: Path, run: Run) -> Identities:
    """The identity of a site; a first one where there was never any.

    Raises IdentityError where the run log knows of one whose file is gone: recipients would refuse another.
    """
    with _alone(workspace, run):
        is_announced = log_entries.last(workspace.warehouse_dsn(ROLE), CREATED) is not None
        if is_announced and not path.exists():
            raise IdentityError(
                f"the signing identity in {path} is gone: restore the file; recipients refuse what a new one signs"
            )
        identities = Identities.ensure(path, workspace.clock(), workspace.policy.sharing.identity_days)
        if not is_announced:  # also where a kill came between the two
            _announce(workspace, CREATED, identities.current, run)
        return identities


def renew_identity(workspace: Workspace, path: Path, run: Run) -> Identities:
    """Make the identity that is to follow, for recipients to pin; it signs nothing yet. Raises IdentityError."""
    with _alone(workspace, run):
        renewed = Identities.load(path).with_coming(workspace.clock(), workspace.policy.sharing.identity_days)
        # Announced before it is saved, as the keys of checkpoints are: a kill leaves an announcement too many.
        if renewed.coming is not None:
            _announce(workspace, RENEWED, renewed.coming, run)
        return renewed.save()


def switch_identity(workspace: Workspace, path: Path, run: Run) -> Identities:
    """From here on the coming identity signs; the private key of the one before is destroyed. Raises IdentityError."""
    with _alone(workspace, run):
        switched = Identities.load(path).switched(workspace.clock())
        _announce(workspace, SWITCHED, switched.current, run)
        return switched.save()


@contextmanager
def _alone(workspace: Workspace, run: Run) -> Iterator[None]:
    """Nobody else changes the identity meanwhile. Raises ContendedError, WarehouseUnavailableError."""
    batch = _batch(run)
    with warehouse.connect(workspace.warehouse_dsn(ROLE), batch.label) as connection, connection.exclusive(batch):
        yield


def _announce(workspace: Workspace, event: str, identity: Identity, run: Run) -> None:
    batch, digests = _batch(run), Digests(workspace.policy.digest, None, code_digest())
    attempt = Attempt(new_id(), event, batch, run, digests, ("F1",))
    details = {
        "certificate_sha256": identity.fingerprint,
        "valid_until": f"{identity.x509.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    }
    with warehouse.connect(workspace.warehouse_dsn(ROLE), batch.label) as connection:
        connection.append(attempt.outcome(Outcome.PASSED, entry_id=new_id(), at=workspace.clock(), details=details))


def _batch(run: Run) -> Batch:
    return Batch("deliveries", "identity", run.run_id)
