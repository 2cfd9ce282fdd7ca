"""`governance keys`: the data keys and the key that wraps them: list, rotate, destroy, audit, back up, restore."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from governance.commands.reading import reason
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import InputError

# What a step needs takes a second to import; `governance --help` does not wait for it.
if TYPE_CHECKING:
    from governance.key_store import Census
    from governance.key_wrapping import StoredKey
    from governance.policy import Policy
    from governance.run_log import Run
    from governance.steps import Workspace


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("keys", help="the keys that protect personal values: what there is, rotate, destroy")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every kind: what it protects, who may use it, how many there are")
    listing.add_argument("--kind", help="the keys of one kind, by what they are for (never of people)")
    listing.add_argument("--json", action="store_true", help="as one JSON document")
    listing.set_defaults(run=_list)
    rotate = actions.add_parser(
        "rotate", help="replace the key-encryption key; re-wraps every key, touches no row; can be interrupted"
    )
    rotate.set_defaults(run=_rotate)
    destroy = actions.add_parser("destroy", help="destroy one key, for ever; what it protects is gone everywhere")
    destroy.add_argument("kind", metavar="KIND", help="such as subject or card_hour; see `governance keys list`")
    destroy.add_argument(
        "scope", metavar="SCOPE", help="what it is for: 'client 50012', 'traveller 20011/2', 2026-11-20T09"
    )
    destroy.add_argument(
        "--reason", required=True, type=reason, help="why, for the run log: a request's number; never a name"
    )
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    destroy.set_defaults(run=_destroy)
    audit = actions.add_parser("audit", help="check the store against keyring, policy, clock and run log")
    audit.set_defaults(run=_audit)
    backup = actions.add_parser("backup", help="write a backup of the store that expires with the key-encryption key")
    backup.add_argument("file", metavar="FILE")
    backup.set_defaults(run=_backup)
    restore = actions.add_parser("restore", help="put a backup back; what was destroyed since is destroyed again")
    restore.add_argument("file", metavar="FILE")
    restore.set_defaults(run=_restore)
    version = actions.add_parser("new-version", help="add a version to a keyring file that comes from a connection")
    version.add_argument("keyring", metavar="FILE")
    version.set_defaults(run=_new_version)
    create = actions.add_parser("create", help="make a keyring and an empty store for a new installation")
    create.add_argument("--store", required=True, metavar="ADDRESS", help="path of a new file, or a postgresql:// URI")
    create.add_argument("--keyring", required=True, metavar="FILE", help="keyring file, made if missing")
    create.set_defaults(run=_create)


def _list(arguments: argparse.Namespace) -> int:
    space = _workspace()
    now = space.clock().timestamp()
    if arguments.kind is not None and arguments.kind not in space.policy.keys:
        raise InputError(f"no kind of key {arguments.kind!r}; there are {', '.join(space.policy.keys)}")
    with closing(space.keys()) as service:
        counted = {census.kind: census for census in service.store.census(now)}
        named = service.store.named(arguments.kind) if arguments.kind is not None else []
        version = service.store.head().current_version
    if arguments.kind is not None:
        return _list_kind(space.policy, counted.get(arguments.kind), named, arguments)
    if arguments.json:
        kinds = {kind: _document(space.policy, kind, counted.get(kind)) for kind in space.policy.keys}
        say(json.dumps({"key_encryption_key": version, "kinds": kinds}, indent=2))
        return 0
    for line in _table(space.policy, counted):
        say(line)
    say(f"\nwrapped by version {version} of the key-encryption key; `governance keys audit` checks them")
    return 0


def _table(policy: Policy, counted: dict[str, Census]) -> Iterator[str]:
    counts = f"{'ALIVE':>9}{'DESTROYED':>11}{'OVERDUE':>9}"
    yield f"{'KIND':<13}{'CLAUSE':<7}{counts}  {'NEXT DEADLINE (UTC)':<21}{'MAY ENCRYPT':<19}MAY DECRYPT"
    for kind, spec in policy.keys.items():
        census = counted.get(kind)
        alive, destroyed, overdue = (census.alive, census.destroyed, census.overdue) if census else (0, 0, 0)
        yield (
            f"{kind:<13}{spec.clause:<7}{alive:>9,}{destroyed:>11,}{overdue:>9,}  "
            f"{_instant(census.next_deadline if census else None):<21}"
            f"{', '.join(spec.seal):<19}{', '.join(spec.open) or '-'}"
        )


def _document(policy: Policy, kind: str, census: Census | None) -> dict[str, object]:
    lasting = policy.key_life(kind)
    counts = {"alive": 0, "destroyed": 0, "overdue": 0, "next_deadline": None, "last_destroyed_at": None}
    if census is not None:
        counts = {name: getattr(census, name) for name in counts}
    hours = None if lasting is None else lasting.total_seconds() / 3600
    return {**policy.keys[kind].model_dump(), "life_hours": hours, **counts}


def _list_kind(policy: Policy, census: Census | None, keys: list[StoredKey], arguments: argparse.Namespace) -> int:
    spec, document = policy.keys[arguments.kind], _document(policy, arguments.kind, census)
    if arguments.json:
        fields = ("scope", "created_at", "expires_at", "destroyed_at")
        listed = [{"id": key.id.hex(), **{f: getattr(key, f) for f in fields}} for key in keys]
        say(json.dumps({**document, "keys": listed if spec.is_named else None}, indent=2))
        return 0
    say(f"{arguments.kind}: {spec.protects}\nmade: {spec.created}\ndestroyed: {spec.destroyed}\n")
    if not spec.is_named:
        say("a key of this kind is a person's; the store does not say whose, so they are only counted: ")
        say(f"{document['alive']:,} alive, {document['destroyed']:,} destroyed")
        return 0
    width = max((len(key.scope or "") + 2 for key in keys), default=16)
    say(f"{'FOR':<{width}}{'MADE (UTC)':<21}{'DEADLINE':<21}{'DESTROYED':<21}ID")
    for key in keys:
        say(
            f"{key.scope or '':<{width}}{_instant(key.created_at):<21}{_instant(key.expires_at):<21}"
            f"{_instant(key.destroyed_at):<21}{key.id.hex()}"
        )
    return 0


def _rotate(_: argparse.Namespace) -> int:
    from governance import steps

    rewrapped = steps.rotate_key(_workspace(), _by_hand("keys rotate"))
    say(f"{rewrapped:,} keys re-wrapped; the old key-encryption key is destroyed, and backups from before have expired")
    return 0


def _destroy(arguments: argparse.Namespace) -> int:
    from governance import steps

    if not arguments.yes:
        if not sys.stdin.isatty():
            raise InputError("destruction is for ever; repeat with --yes where nobody can be asked")
        say("What this key protects will be unreadable for ever, in every copy and backup. Type the kind to go on: ")
        if sys.stdin.readline().strip() != arguments.kind:
            say("nothing was destroyed")
            return 1
    left = steps.destroy_key(_workspace(), arguments.kind, arguments.scope, arguments.reason, _by_hand("keys destroy"))
    say(f"destroyed at {_instant(left.destroyed_at)} UTC: key {left.id.hex()} of kind {left.kind}; the run log has it")
    return 0


def _audit(_: argparse.Namespace) -> int:
    from governance import key_audit, steps

    space = _workspace()
    logged = steps.logged_destructions(space)
    known = key_audit.known_store(space.warehouse_dsn(steps.keeping.ROLE))
    with closing(space.keys()) as service:
        report = key_audit.audit(service, logged, known)
    for fact in report.facts:
        say(f"ok       {fact}")
    for problem in report.problems:
        say(f"PROBLEM  {problem}")
    return 1 if report.problems else 0


def _backup(arguments: argparse.Namespace) -> int:
    from governance import key_backups

    file = _file(arguments.file)
    with closing(_workspace().keys()) as service:
        backup = key_backups.back_up(service, file)
    expires = f"expires {backup.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    say(f"{file}: {expires}; {backup.left_out:,} keys die before that and are not in it")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from governance.embedded import backup

    count, missing = backup.restore_keys(sites.load(), _file(arguments.file))
    say(f"{count:,} keys came back; what the run log calls destroyed, and what is past its deadline, did not")
    if missing:
        say(f"{missing:,} keys that the run log knew of did not: they were made after the backup, or near their end.")
        say("What those protect that were made after it is lost: pull the partitions since then again")
    return 0


def _create(arguments: argparse.Namespace) -> int:
    from governance import keys
    from governance.key_databases import POSTGRES
    from governance.keyring import Keyring

    file = _file(arguments.keyring)
    if not arguments.store.startswith(POSTGRES):
        _file(arguments.store)
    is_new = not file.exists()
    ring = Keyring.create(file) if is_new else Keyring.load(file)
    try:
        with closing(keys.create(arguments.store, ring, now=datetime.now(UTC))) as store:
            made = f"an empty key store, {store.head().store_id.hex()}"
    except BaseException:
        if is_new:
            file.unlink(missing_ok=True)  # nothing is wrapped by it
        raise
    say(f"{made}, and {ring.place}; keep them apart, and the keyring out of every backup of the store")
    return 0


def _file(argument: str) -> Path:
    """The file that an argument names. Raises InputError when it names none."""
    if "://" in argument or not Path(argument).name:
        # Not quoted: an address may hold a password.
        raise InputError("what was given names no file; give the path of one, not an address or a folder's root")
    return Path(argument)


def _new_version(arguments: argparse.Namespace) -> int:
    from governance.keyring import KEY_ENCRYPTION, Keyring

    file = _file(arguments.keyring)
    newest = max(Keyring.add_version(file, KEY_ENCRYPTION).versions(KEY_ENCRYPTION))
    say(f"{file}: version {newest} added; put the file's text where the connection has it, then rotate")
    return 0


def _workspace() -> Workspace:
    from governance.embedded import workspaces

    return workspaces.workspace(sites.load())


def _by_hand(command: str) -> Run:
    from governance.embedded import workspaces

    return workspaces.by_hand(command)


def _instant(seconds: int | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
