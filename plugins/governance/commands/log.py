"""`governance verify-log`, `prove-entry`, `prove-consistency`, and `governance log`: the run log, and proofs of it."""

from __future__ import annotations

import argparse
import base64
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from governance import private_files, steps
from governance.commands import log_evidence
from governance.commands.reading import reason
from governance.embedded import site as sites
from governance.embedded import workspaces
from governance.embedded.cli import say
from governance.embedded.site import Site
from governance.errors import InputError, ProofError, RunLogError
from governance.log_tree import LogTree
from governance.log_verification import opened_notes, verify
from governance.merkle import consistency_proof
from governance.notes import Checkpoint, Verifier, consistency_text, opened
from governance.policy import load
from governance.signers import CheckpointFolder, Signers

LONGEST_NOTE = 100_000
"""A checkpoint is a few hundred bytes."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    checking = subparsers.add_parser(
        "verify-log", help="compare the run log with its checkpoints, whole or from one on"
    )
    checking.add_argument(
        "--since", metavar="CHECKPOINT", type=Path, help="a checkpoint that you hold: only what came after"
    )
    checking.add_argument(
        "--keys", metavar="FILE", type=Path, help="public keys that you hold, instead of those published here"
    )
    checking.set_defaults(run=_verify)
    entry = subparsers.add_parser("prove-entry", help="a proof that an entry is in the log, which shows no other entry")
    entry.add_argument("entry", metavar="ID", help="entry_id of the entry (`governance runs --json`)")
    entry.add_argument("--folder", metavar="FOLDER", type=Path, help="write ID.entry and ID.tlog-proof there")
    entry.set_defaults(run=_prove_entry)
    consistency = subparsers.add_parser(
        "prove-consistency", help="a proof that the log of one checkpoint begins with that of another"
    )
    consistency.add_argument("old", metavar="OLD", type=Path, help="the earlier checkpoint")
    consistency.add_argument("new", metavar="NEW", type=Path, help="the later one")
    consistency.set_defaults(run=_prove_consistency)
    log = subparsers.add_parser("log", help="export the run log; sign its head; change the key that signs")
    actions = log.add_subparsers(title="actions", metavar="ACTION", required=True)
    export = actions.add_parser("export", help="every entry in order, one line each, as the tree hashes it")
    export.add_argument("file", metavar="FILE", type=Path)
    export.set_defaults(run=_export)
    text = actions.add_parser("text", help="a text of policy or suites by the digest that entries name")
    text.add_argument("digest", metavar="SHA256")
    text.set_defaults(run=_text_of)
    actions.add_parser("checkpoint", help="sign and publish the head of the log now").set_defaults(run=_checkpoint)
    actions.add_parser("rotate-key", help="replace the key that signs checkpoints").set_defaults(run=_rotate)
    restored = actions.add_parser(
        "acknowledge-restore",
        help="let the log go on, under a new origin, after its database was put back to an earlier moment",
    )
    restored.add_argument("reason", metavar="REASON", type=reason, help="what happened; it stands in the log")
    restored.set_defaults(run=_acknowledge)


def _verify(arguments: argparse.Namespace) -> int:
    site = sites.load()
    folder = CheckpointFolder(site.checkpoints_path)
    verifiers = _verifiers(arguments.keys) if arguments.keys else folder.verifiers()
    origin = Signers.load(site.signers_path).origin
    since = _held(arguments.since, verifiers) if arguments.since else None
    began = time.monotonic()
    with _reading(site) as tree:
        # What lies in our own table was signed too, or is not sound.
        heads, unsound = opened_notes([*folder.notes(), *tree.checkpoints()], verifiers)
        own = [head for head in heads if head.origin == origin and (since is None or head.size >= since.size)]
        merge_delay = timedelta(minutes=float(load(site=site.policy_path).value("merge_delay_minutes")))
        found = verify(tree, own, now=datetime.now(UTC), merge_delay=merge_delay, since=since)
    nothing = "there is no checkpoint of it to compare with: `governance log checkpoint` signs one, or bring your own"
    problems = [*unsound, *([] if own or since else [nothing]), *found.problems]
    for problem in problems:
        say(f"NOT VERIFIED: {problem}")
    say(
        f"{origin}: {found.size - found.start:,} entries compared with {len(own)} checkpoints in "
        f"{time.monotonic() - began:.1f} s; root {base64.b64encode(found.root).decode()} at {found.size:,}"
    )
    if found.uncovered:
        say(f"{found.uncovered:,} entries came after the last checkpoint: `governance log checkpoint` covers them")
    if found.waiting:
        say(f"{found.waiting:,} entries wait for their place: the sequencer comes every ten minutes")
    others = sorted({head.origin for head in heads} - {origin})
    if others:
        say(f"checkpoints of earlier origins, which this log does not claim to meet: {', '.join(others)}")
    say("the log is NOT what its checkpoints say" if problems else "the log is what its checkpoints say")
    return 1 if problems else 0


def _prove_entry(arguments: argparse.Namespace) -> int:
    entry_id = _entry_id(arguments.entry)
    leaf, text = log_evidence.proof(sites.load(), entry_id)
    if arguments.folder is None:
        say(leaf.decode())
        say(text.rstrip("\n"))
        return 0
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".entry", leaf + b"\n"), (".tlog-proof", text.encode())):
        (arguments.folder / f"{entry_id}{suffix}").write_bytes(content)
    say(f"{arguments.folder}: {entry_id}.entry and {entry_id}.tlog-proof")
    return 0


def _prove_consistency(arguments: argparse.Namespace) -> int:
    site = sites.load()
    verifiers = CheckpointFolder(site.checkpoints_path).verifiers()
    old, new = _held(arguments.old, verifiers), _held(arguments.new, verifiers)
    if old.origin != new.origin:
        raise InputError(f"the checkpoints are of two logs, {old.origin} and {new.origin}")
    with _reading(site) as tree:
        if new.size > tree.size():
            raise RunLogError(
                f"the log has {tree.size()} entries, the later checkpoint says {new.size}: it was cut, or put back"
            )
        hashes = tree.hashes().hash_of
        proof = consistency_proof(old.size, new.size, hashes)
        if hashes(0, old.size) != old.root or hashes(0, new.size) != new.root:
            raise RunLogError(
                "the log is not that of these checkpoints: it was changed since, or another one was put in its place"
            )
    say(consistency_text(old.size, proof, _text(arguments.new)).rstrip("\n"))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    site = sites.load()
    if not arguments.file.name or arguments.file.is_dir():
        raise InputError("name a file to write the entries to")
    # Under its name only when it is whole; a pipe or a device takes what it gets.
    is_stream = arguments.file.exists() and not arguments.file.is_file()
    count, draft = 0, arguments.file if is_stream else private_files.draft_of(arguments.file)
    try:
        with _reading(site) as tree, draft.open("wb") as file:
            for index, leaf in tree.leaves():
                if leaf is None:
                    raise RunLogError(f"entry {index} is gone from the log; nothing was exported")
                file.write(leaf + b"\n")
                count += 1
        if not is_stream:
            draft.replace(arguments.file)
    finally:
        if not is_stream:
            draft.unlink(missing_ok=True)
    say(f"{count:,} entries in {arguments.file}; checkpoints and public keys: {site.checkpoints_path}")
    return 0


def _text_of(arguments: argparse.Namespace) -> int:
    _, content = log_evidence.text_of(sites.load(), arguments.digest)
    say(content.rstrip("\n"))
    return 0


def _checkpoint(_: argparse.Namespace) -> int:
    site = sites.load()
    return _say_signed(site, steps.checkpoint(workspaces.workspace(site), workspaces.by_hand("checkpoint")))


def _rotate(_: argparse.Namespace) -> int:
    site = sites.load()
    signed = steps.rotate_signing_key(workspaces.workspace(site), workspaces.by_hand("rotate_signing_key"))
    say(f"new public key: {Signers.load(site.signers_path).verifiers[-1]}")
    return _say_signed(site, signed)


def _acknowledge(arguments: argparse.Namespace) -> int:
    site = sites.load()
    run = workspaces.by_hand("acknowledge_restore")
    return _say_signed(site, steps.acknowledge_restore(workspaces.workspace(site), arguments.reason, run))


def _say_signed(site: Site, signed: Checkpoint) -> int:
    say(f"{signed.origin}: {signed.size:,} entries, signed and published in {site.checkpoints_path}")
    return 0


@contextmanager
def _reading(site: Site) -> Iterator[LogTree]:
    with LogTree.connected(site.dsn("auditor")) as tree:
        yield tree


def _held(path: Path, verifiers: list[Verifier]) -> Checkpoint:
    try:
        return opened(_text(path), verifiers)
    except ProofError as error:
        raise InputError(f"{path} is no checkpoint of this log: {error}") from None


def _verifiers(path: Path) -> list[Verifier]:
    try:
        return [Verifier.parse(line) for line in _text(path).splitlines() if line.strip() and not line.startswith("#")]
    except ProofError as error:
        raise InputError(f"{path} holds no public keys, one a line: {error}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_NOTE).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read as text") from None


def _entry_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InputError(f"{text!r} is no id of an entry; `governance runs --json` shows them as entry_id") from None
