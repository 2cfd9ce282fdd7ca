"""`governance keys`, as a data engineer calls it: on a site of its own, in a process of its own."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import builders
from aftermath import entries
from builders import DAY, World
from governance import steps
from governance.__main__ import main
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1")]


@pytest.fixture
def filled(site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch) -> str:
    """A booking with a card, pulled; returns the scope of its client's key. The commands find the test's site."""
    monkeypatch.setattr(sites, "default_data_dir", lambda: site.data_dir)
    key = world.booking(card={})
    world.view()
    for dataset in ("bookings", "visits"):
        steps.pull(space, dataset, DAY.isoformat(), builders.run())
    return f"client {int(key.split('/')[0]) + 40_000}"


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["keys", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_list_says_how_many_there_are_of_every_kind_and_who_may_use_them(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = {line.split()[0]: line.split() for line in told(capsys, "list").splitlines()[1:] if line}
    assert lines["subject"][1:4] == ["M1", "3", "0"]  # client, traveller, and whoever may be a guardian
    assert lines["card_hour"][1:4] == ["K1", "1", "0"]
    assert lines["held_row"][1:4] == ["E1", "0", "0"]
    document = json.loads(told(capsys, "list", "--json"))
    assert document["kinds"]["card_hour"]["life_hours"] == 238
    assert document["kinds"]["card_hour"]["overdue"] == 1  # the clock of the machine is months after the world's
    assert "2026-03-10T11" in told(capsys, "list", "--kind", "card_hour")
    of_people = told(capsys, "list", "--kind", "subject")
    assert "only counted" in of_people
    assert filled not in of_people
    assert "no kind of key 'other'" in told(capsys, "list", "--kind", "other", code=65)


@pytest.mark.clause("M1")
def test_destroy_asks_first_is_for_ever_and_is_told_to_the_log(
    site: Site, filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["keys", "destroy", "subject", filled])
    assert "--reason" in capsys.readouterr().err
    asked = told(capsys, "destroy", "subject", filled, "--reason", "request 17", code=65)
    assert "repeat with --yes" in asked
    assert entries(site, "destroy_keys") == []
    assert "destroyed at" in told(capsys, "destroy", "subject", filled, "--reason", "request 17", "--yes")
    (outcome,) = entries(site, "destroy_keys", "outcome")
    assert (outcome["outcome"], outcome["reason"], outcome["run"]["trigger"]) == ("passed", "request 17", "manual")
    assert outcome["run"]["triggered_by"]
    assert filled not in json.dumps(outcome)
    again = told(capsys, "destroy", "subject", filled, "--reason", "request 17", "--yes")
    assert "destroyed at" in again
    nobody = told(capsys, "destroy", "subject", "client 1", "--reason", "request 18", "--yes", code=65)
    assert "nothing was destroyed" in nobody


def test_rotate_backup_audit_and_restore_work_on_each_other(
    site: Site, filled: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "keys re-wrapped" in told(capsys, "rotate")
    assert Keyring.load(site.keyring_path).versions(KEY_ENCRYPTION).keys() == {2}
    # By the machine's clock the world's card hour and days are long over.
    assert "PROBLEM  1 keys of kind card_hour are past their deadline" in told(capsys, "audit", code=1)
    steps.keep_keys(builders.workspace(site, now=builders.NOW.replace(year=2027)), builders.run())
    assert "PROBLEM" not in told(capsys, "audit")
    backup = tmp_path / "backup"
    assert "expires" in told(capsys, "backup", str(backup))
    assert backup.stat().st_mode & 0o777 == 0o600
    told(capsys, "destroy", "subject", filled, "--reason", "request 17", "--yes")
    site.key_store_path.unlink()
    assert "there is no such file. Restore it" in told(capsys, "list", code=1)
    assert "keys came back" in told(capsys, "restore", str(backup))
    assert site.key_store_path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(site.key_store_path) as store:
        ((alive,),) = store.execute("SELECT count(*) FROM data_keys WHERE kind = 'subject' AND wrapped IS NOT NULL")
    assert alive == 2  # of three; the client was erased after the backup
    assert "PROBLEM" not in told(capsys, "audit")


def test_create_makes_a_first_keyring_and_store_and_never_a_second(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ring, store = tmp_path / "keyring.json", tmp_path / "keys.sqlite"
    arguments = ("create", "--store", str(store), "--keyring", str(ring))
    assert "an empty key store" in told(capsys, *arguments)
    before = ring.read_bytes(), store.read_bytes()
    assert "there is one already" in told(capsys, *arguments, code=1)
    assert (ring.read_bytes(), store.read_bytes()) == before
    assert "version 2 added" in told(capsys, "new-version", str(ring))
    assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {1, 2}
