"""What every command answers while the databases are away: 75, try again, unless it needs none."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from governance import key_backups, keys
from governance.__main__ import main, parser
from governance.embedded import site as sites
from governance.embedded import workspaces
from governance.keyring import Keyring
from governance.notes import Checkpoint
from governance.sharing.identities import Identities
from governance.signers import CheckpointFolder, Signers, new_origin

AGAIN = 75
POLICY = 78
BAD = 65
ENTRY = "6a8ea1ae-0d0d-4b0e-9a10-4c6f3d1d2f11"
COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "anonymise": (("NEW/in.csv", "NEW/out.csv", "--policy", "LOG"), POLICY),
    "assess": (("BOOKINGS", "--policy", "LOG"), POLICY),
    "backup": (("NEW/a", "--secrets", "NEW/b"), AGAIN),
    "cards hold": (("1", "--reason", "fraud", "--case", "7", "--until", "2099-01-01"), AGAIN),
    "cards holds": ((), AGAIN),
    "cards release": (("00000000-0000-4000-8000-000000000001", "--why", "closed"), AGAIN),
    "deliveries create": (("NEW/identity.pem",), 0),
    "deliveries identity": ((), 0),
    "deliveries renew": ((), AGAIN),
    "deliveries switch": ((), AGAIN),
    "deliveries verify": (("LOG",), BAD),
    "dsn": (("--role", "analyst"), 0),
    "import": (("--bookings", "BOOKINGS", "--access-log", "LOG"), AGAIN),
    "keys audit": ((), AGAIN),
    "keys backup": (("NEW/keys",), 0),
    "keys create": (("--store", "NEW/store", "--keyring", "NEW/ring"), 0),
    "keys destroy": (("subject", "client 1", "--reason", "request 7", "--yes"), AGAIN),
    "keys list": ((), 0),
    "keys new-version": (("NEW/keyring",), 0),
    "keys restore": (("BACKUP",), AGAIN),
    "keys rotate": ((), AGAIN),
    "log acknowledge-restore": (("request 7",), AGAIN),
    "log checkpoint": ((), AGAIN),
    "log export": (("NEW/log",), AGAIN),
    "log rotate-key": ((), AGAIN),
    "log text": (("0" * 64,), AGAIN),
    "prove-consistency": (("OLD", "OLD"), AGAIN),
    "prove-entry": ((ENTRY,), AGAIN),
    "quarantine list": ((), AGAIN),
    "quarantine replay": (("--dataset", "visits", "--partition", "2026-03-10"), AGAIN),
    "read": (("--role", "steward", "--why", "request 7", "quarantine.rows", "row_key"), AGAIN),
    "record": ((), 0),
    "recipients add": (("clinic", "--demo"), AGAIN),
    "recipients list": ((), 0),
    "recipients revoke": (("clinic", "--reason", "request 7"), AGAIN),
    "recipients rotate": (("clinic", "--demo"), AGAIN),
    "recipients show": (("clinic",), 0),
    "recipients test": (("clinic",), 1),
    "releases contract": (("NEW/contract.yaml",), 0),
    "releases diff": (("bookings", "2026-03-10", "2026-03-11"), AGAIN),
    "releases export": (("bookings", "2026-03-10", "NEW/release.parquet"), AGAIN),
    "releases list": ((), AGAIN),
    "releases report": (("NEW/report.html",), AGAIN),
    "releases show": (("bookings", "2026-03-10"), AGAIN),
    "retention apply": (("--plan", f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{32 * '0'}"), AGAIN),
    "retention fulfil": (("1", "--reason", "erased", "--how", "case 7"), AGAIN),
    "retention obligations": ((), AGAIN),
    "retention plan": ((), AGAIN),
    "runs": ((), AGAIN),
    "sample": ((), AGAIN),
    "status": ((), 3),
    "verify-log": ((), AGAIN),
    "who-has": (("50002", "--why", "request 7"), AGAIN),
}
"""Command -> its arguments, and what it answers; in them, what is in capitals stands for a file."""
CLINIC = """
recipients:
  clinic: {name: Clinic, kind: health_provider, provider_id: 1, contract: 1.0.0, country_code: SE,
           agreed_from: 2026-01-01, agreed_until: 2099-12-31, endpoint: file:///srv/clinic, acknowledgement_hours: 48}
"""
OTHERS = {
    "airflow": "becomes Airflow's own program", "psql": "becomes psql", "up": "starts them", "demo": "starts them",
    "down": "ends them", "restore": "starts its own", "coverage": "says which proofs it could not look at",
    "explain": "says which proofs it could not look at",
}  # fmt: skip


def leaves(top: argparse.ArgumentParser, name: str = "") -> Iterator[str]:
    """Every command that can be given."""
    actions = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield name.strip()
    for action in actions:
        for part, below in action.choices.items():
            yield from leaves(below, f"{name} {part}")


def test_every_command_is_in_the_table() -> None:
    assert sorted([*COMMANDS, *OTHERS]) == sorted(leaves(parser()))


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> sites.Site:
    """A site whose servers do not run: its keys and its signed log lie there."""
    site = sites.load_or_create(tmp_path_factory.mktemp("away") / "site")
    sites.write_policy(site, dict.fromkeys(("bookings", "visits"), date(2026, 3, 1)))
    with site.policy_path.open("a", encoding="utf-8") as file:
        file.write(CLINIC)
    now = datetime.now(UTC)
    keys.create(str(site.key_store_path), Keyring.create(site.keyring_path, now=now), now=now).close()
    signers = Signers.create(site.signers_path, new_origin())
    head = Checkpoint(signers.origin, 1, bytes(32))
    folder = CheckpointFolder(site.checkpoints_path)
    folder.publish_keys(signers.verifiers)
    folder.publish(head, head.signed(signers.keys))
    Identities.create(site.identity_path, now)
    with closing(workspaces.workspace(site).keys()) as service:
        service.acting("loader", "intake", lambda _: None).sealing("subject", pa.array(["client 1"]))
        key_backups.back_up(service, site.data_dir / "backup")
    return site


@pytest.fixture
def files(away: sites.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the words in capitals stand for."""
    monkeypatch.setattr(sites, "default_data_dir", lambda: away.data_dir)
    (tmp_path / "new").mkdir()
    Keyring.create(tmp_path / "new" / "keyring")
    (checkpoint,) = away.checkpoints_path.glob("*.checkpoint")
    for name in ("bookings", "log"):
        (tmp_path / name).write_text("")
    return {"NEW": str(tmp_path / "new"), "OLD": str(checkpoint), "BACKUP": str(away.data_dir / "backup"),
            "BOOKINGS": str(tmp_path / "bookings"), "LOG": str(tmp_path / "log")}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_finds_the_databases_away_says_so_and_to_try_again(
    files: dict[str, str], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    arguments, code = COMMANDS[command]
    given = [files[word] + argument[len(word) :] if (word := argument.partition("/")[0]) in files else argument
             for argument in arguments]  # fmt: skip
    assert main([*command.split(), *given]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == (code in (AGAIN, POLICY, BAD)), said
    if command == "backup":
        assert not Path(files["NEW"], "a").exists()
