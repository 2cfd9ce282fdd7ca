"""Keeping the run log: order for its entries, a signed checkpoint of its head, and what to do when it was cut (R1).

A checkpoint is signed only when the log holds all that the last published one says it held. Nothing here repairs: a log
that was changed, cut, or put back from an old backup is said to be so, and waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from governance import log_entries, warehouse
from governance.errors import InputError, ProofError, RunLogError
from governance.log_tree import LogTree, Sequenced
from governance.log_verification import opened_notes
from governance.notes import Checkpoint
from governance.recording import Recorded, code_digest, new_id
from governance.run_log import Attempt, Batch, Digests, Outcome, Run
from governance.signers import Signers, next_origin
from governance.steps.workspace import Workspace
from governance.warehouse import Warehouse

ROLE = "sequencer"
CLAUSES = ("J2", "R1")
SHOWN = 50
"""Numbers of connections that an alarm names."""
_EVER = datetime(2020, 1, 1, tzinfo=UTC)
SETTLING = timedelta(minutes=2)
"""A connection opens before the entry that it appends is there."""


def sequence(workspace: Workspace) -> dict[str, int]:
    """Give every entry that waits its place in the tree; returns counts.

    Raises ContendedError while another sequencer is at it, RunLogError when entries that waited are gone.
    """
    with LogTree.connected(workspace.warehouse_dsn(ROLE)) as tree:
        done = tree.sequence()
    _require_all_there(done)
    return {"integrated": done.integrated}


def checkpoint(workspace: Workspace, run: Run) -> Checkpoint:
    """Say in the log that it is alive, give what waits its place, sign the head and publish it.

    Raises RunLogError, and signs nothing, when the log does not hold what it held at the last checkpoint.
    """
    signers = workspace.signers()
    with _recorded(workspace, "checkpoint", run) as (recorded, connection, tree):
        held = _held(workspace, tree, signers.origin)
        _require_grown_from(tree, held)
        _heartbeat(workspace, recorded, connection, tree, held)
        _require_all_there(tree.sequence())
        signed = _signed(workspace, tree, signers)
    return signed


def rotate_signing_key(workspace: Workspace, run: Run) -> Checkpoint:
    """Replace the key that signs: the log announces the new one, a checkpoint carries both signatures, the old one
    goes.

    Can be killed anywhere and done again. Raises RunLogError.
    """
    with _alone(workspace, run):
        signers = workspace.signers()
        later = signers.with_new_key() if len(signers.keys) == 1 else signers
        # Announced before it is saved: a kill between the two leaves an announcement too many, never a key that signs
        # unannounced.
        _announce(workspace, "rotate_signing_key", run, {"verifier_key": str(later.verifiers[-1])})
        later.save()
        signed = checkpoint(workspace, run)
        later.newest_alone().save()
    return signed


def acknowledge_restore(workspace: Workspace, reason: str, run: Run) -> Checkpoint:
    """Let the log go on, under a new origin and key, after its database was put back to before the last checkpoint.

    The log says from what on it is lost; checkpoints of the earlier origin stay as they are, and stay unmet. Can be
    killed anywhere and done again. Raises InputError when the log holds all that it held.
    """
    if not reason.strip():
        raise InputError("say what happened: the reason stands in the log for ever")
    with _alone(workspace, run):
        signers = workspace.signers()
        with LogTree.connected(workspace.warehouse_dsn(ROLE)) as tree:
            heads = _heads(workspace, tree)
            held = _largest(heads, signers.origin)
            if heads and workspace.checkpoints().latest(signers.origin) is None:
                return checkpoint(workspace, run)  # announced before, and broken off before anything was published
            if held is None or _missing_of(tree, held) is None:
                raise InputError("the log holds all that its last checkpoint says; there is nothing to acknowledge")
            size = tree.size()
        later = signers.of_origin(next_origin(signers.origin))
        details = {
            "lost_checkpoint": held.text.strip().replace("\n", " "),
            "verifier_key": str(later.verifiers[-1]),
            "new_origin": later.origin,
        }
        # Announced before it is saved, as at a rotation.
        _announce(workspace, "acknowledge_restore", run, details, reason=reason, measures={"size": size})
        later.save()
        return checkpoint(workspace, run)


def restore_acknowledged_at(workspace: Workspace) -> datetime | None:
    """When somebody last said that the database had been put back to before a checkpoint; None where nobody ever did.

    Raises RunLogError where it was put back, or the log was cut, and nobody has said so yet.
    """
    signers, dsn = workspace.signers(), workspace.warehouse_dsn(ROLE)
    with LogTree.connected(dsn) as tree:
        _require_grown_from(tree, _held(workspace, tree, signers.origin), "published")
    return log_entries.last_at(dsn, "acknowledge_restore")


@contextmanager
def _alone(workspace: Workspace, run: Run) -> Iterator[None]:
    """Nobody else changes the keys meanwhile. Raises ContendedError."""
    with (
        warehouse.connect(workspace.warehouse_dsn(ROLE), "the run log") as connection,
        connection.exclusive(Batch("run_log", "signing keys", run.run_id)),
    ):
        yield


def _announce(workspace: Workspace, event: str, run: Run, details: dict[str, str], **facts: Any) -> None:
    attempt = _attempt(workspace, event, run)
    with warehouse.connect(workspace.warehouse_dsn(ROLE), "the run log") as connection:
        entry = attempt.outcome(Outcome.PASSED, entry_id=new_id(), at=workspace.clock(), details=details, **facts)
        connection.append(entry)


def _attempt(workspace: Workspace, event: str, run: Run) -> Attempt:
    digests = Digests(workspace.policy.digest, None, code_digest())
    return Attempt(new_id(), event, Batch("run_log", "all", run.run_id), run, digests, CLAUSES)


@contextmanager
def _recorded(workspace: Workspace, event: str, run: Run) -> Iterator[tuple[Recorded, Warehouse, LogTree]]:
    """An act on the log, by nobody else at the same time. Its outcome is an entry only when it fails: the heartbeat
    stands for it otherwise. Raises ContendedError."""
    attempt, dsn = _attempt(workspace, event, run), workspace.warehouse_dsn(ROLE)
    recorded = Recorded(attempt, dsn=dsn, clock=workspace.clock, has_intent=False, texts=workspace.policy.texts)
    with (
        recorded,
        warehouse.connect(dsn, "the run log") as connection,
        LogTree.connected(dsn) as tree,
        connection.exclusive(attempt.batch),
    ):
        yield recorded, connection, tree


def _held(workspace: Workspace, tree: LogTree, origin: str) -> Checkpoint | None:
    """The largest checkpoint of an origin that was published, or signed here and perhaps not published."""
    return _largest(_heads(workspace, tree), origin)


def _largest(heads: Iterable[Checkpoint], origin: str) -> Checkpoint | None:
    return max((head for head in heads if head.origin == origin), key=lambda head: head.size, default=None)


def _heads(workspace: Workspace, tree: LogTree) -> list[Checkpoint]:
    """Every checkpoint, of earlier origins too."""
    folder, signed = workspace.checkpoints(), tree.checkpoints()
    if signed:
        folder.require_keys()
    heads, unsound = opened_notes([*folder.notes(), *signed], folder.verifiers())
    if unsound:
        raise RunLogError(
            f"{unsound[0]}: it was changed, in {folder.path} or in audit.checkpoints, or a line of keys.txt there is "
            "missing; compare both with what the auditor holds; nothing was signed"
        )
    return heads


def _require_grown_from(tree: LogTree, held: Checkpoint | None, not_done: str = "signed") -> None:
    if held and (problem := _missing_of(tree, held)):
        raise RunLogError(
            f"{problem}; nothing was {not_done}; tell the auditor, and once it is clear what happened, "
            "`governance log acknowledge-restore REASON`"
        )


def _missing_of(tree: LogTree, held: Checkpoint) -> str | None:
    """What the log lacks of what a checkpoint says it held, in words; None when it lacks nothing."""
    size = tree.size()
    if size < held.size:
        return (
            f"the run log has {size} entries in order, its last checkpoint says {held.size}: it was cut, or the "
            "database was put back to an earlier moment"
        )
    try:
        root = tree.hashes().hash_of(0, held.size)
    except ProofError as error:
        raise RunLogError(
            f"the tiles of the run log's tree are damaged ({error}), its entries may be whole: put table audit.tiles "
            "back from a backup, and compare with `governance verify-log`; nothing was signed, and no restore is to be "
            "acknowledged for it"
        ) from None
    if root != held.root:
        return (
            f"the first {held.size} entries of the run log are not those of its last checkpoint: they were changed, or "
            "the database was put back to an earlier moment and went on"
        )
    return None


def _heartbeat(
    workspace: Workspace, recorded: Recorded, connection: Warehouse, tree: LogTree, held: Checkpoint | None
) -> None:
    """The entry that proves, later, that nothing else happened between it and the one before."""
    until = workspace.clock() - SETTLING
    last = log_entries.last_at(workspace.warehouse_dsn(ROLE), "heartbeat")
    alarms = list(_alarms(workspace, tree, last - SETTLING if last else _EVER, until))
    details = {"last_checkpoint": held.text.strip().replace("\n", " ")} if held else {}
    entry = recorded.outcome_of(
        recorded.attempt.attempt_id, "heartbeat", Outcome.PASSED, alarms=alarms, details=details,
        measures={"last_size": held.size if held else 0},
    )  # fmt: skip
    connection.append(entry)


def _alarms(workspace: Workspace, tree: LogTree, since: datetime, until: datetime) -> Iterator[str]:
    """What is not as it should be with entries and connections, of the time since the last heartbeat."""
    minutes = float(workspace.policy.value("merge_delay_minutes"))
    if late := tree.waiting(workspace.clock() - timedelta(minutes=minutes)):
        yield f"R1 {late} entries waited longer than {minutes:g} minutes for their place"
    if unplaced := tree.unplaced():
        yield f"R1 {unplaced} entries have no place and do not wait for one: somebody took them out of the queue"
    if not tree.is_noted():
        yield "J2 connections to the database are not noted: who read what cannot be held against the log"
    if lost := tree.lost_sessions(since, until):
        yield f"J2 {lost} connections were noted and are gone from audit.sessions: somebody removed them"
    if unrecorded := tree.unrecorded_sessions(since, until):
        shown = ", ".join(f"{number} of {login}" for number, login in unrecorded[-SHOWN:])
        others = f" and {len(unrecorded) - SHOWN} before" if len(unrecorded) > SHOWN else ""
        yield f"J2 {len(unrecorded)} connections could read without an entry: {shown}{others}"


def _require_all_there(done: Sequenced) -> None:
    if done.lost:
        shown = ", ".join(done.lost[:5])
        raise RunLogError(
            f"{len(done.lost)} entries were appended to the run log and are gone before they got their place: {shown}; "
            f"somebody removed them; tell the auditor"
        )


def _signed(workspace: Workspace, tree: LogTree, signers: Signers) -> Checkpoint:
    head = tree.head(signers.origin)
    note = head.signed(signers.keys)
    # The keys first: of a note that is kept, the key must be known.
    workspace.checkpoints().publish_keys(signers.verifiers)
    tree.keep_checkpoint(head, note)
    workspace.checkpoints().publish(head, note)
    return head
