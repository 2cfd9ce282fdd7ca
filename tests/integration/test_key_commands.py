"""`governance keys`, as a data engineer calls it: on a site of its own, in a process of its own."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import builders
from aftermath import entries
from builders import DAY, World
from governance import steps
from governance.__main__ import main
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.key_store import KeyStore
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.run_log import Batch
from governance.steps import Workspace, keeping
from governance.warehouse import connect
from run_logs import Auditor

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
    assert lines["release"][1:4] == ["E1", "0", "0"]
    document = json.loads(told(capsys, "list", "--json"))
    assert document["kinds"]["card_hour"]["life_hours"] == 238
    assert document["kinds"]["card_hour"]["overdue"] == 1  # the clock of the machine is months after the world's
    assert "2026-03-10T11" in told(capsys, "list", "--kind", "card_hour")
    hours = json.loads(told(capsys, "list", "--kind", "card_hour", "--json"))
    assert (hours["alive"], [key["scope"] for key in hours["keys"]]) == (1, ["2026-03-10T11"])
    people = json.loads(told(capsys, "list", "--kind", "subject", "--json"))
    assert (people["alive"], people["destroyed"], people["keys"]) == (3, 0, None)
    of_people = told(capsys, "list", "--kind", "subject")
    assert "only counted" in of_people
    assert "3 alive, 0 destroyed" in of_people
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


@pytest.mark.clause("M1")
@pytest.mark.clause("R1")
def test_an_erasure_is_found_by_whose_it_was_until_the_reference_key_dies_and_the_log_verifies_ever_after(
    site: Site, space: Workspace, filled: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told(capsys, "destroy", "subject", filled, "--reason", "request 17", "--yes")
    main(["runs", "--key", "subject", filled])
    assert "destroyed subject 1" in capsys.readouterr().out
    main(["runs", "--key", "subject", "client 1"])
    assert "destroyed" not in capsys.readouterr().out
    assert main(["runs", "--key", "people", filled]) == 65
    assert "no kind of key 'people'" in capsys.readouterr().err
    steps.sequence(space)
    steps.checkpoint(space, builders.run())
    # The end of the key store: nobody can tell any more whose the ids in the log are.
    for path in site.key_store_path.parent.glob(f"{site.key_store_path.name}*"):
        path.unlink()
    site.keyring_path.unlink()
    told(capsys, "create", "--store", str(site.key_store_path), "--keyring", str(site.keyring_path))
    main(["runs", "--key", "subject", filled])
    assert "destroyed" not in capsys.readouterr().out
    auditor = Auditor(site, tmp_path / "auditor")
    auditor.meet()
    assert auditor.verifies(), auditor.said


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
    first = told(capsys, *arguments)
    assert "an empty key store" in first
    before = ring.read_bytes(), store.read_bytes()
    with closing(KeyStore.open(str(store))) as made:
        assert made.head().store_id.hex() in first
    assert "there is one already" in told(capsys, *arguments, code=1)
    assert (ring.read_bytes(), store.read_bytes()) == before
    assert "version 2 added" in told(capsys, "new-version", str(ring))
    assert Keyring.load(ring).versions(KEY_ENCRYPTION).keys() == {1, 2}


@pytest.mark.parametrize(
    "store",
    ["postgresql://nobody:word@127.0.0.1:1/keys", "/nowhere/keys.sqlite", "mysql://keys"],
    ids=["away", "no folder", "other"],
)
def test_create_that_fails_leaves_no_new_keyring_and_keeps_one_that_was_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, store: str
) -> None:
    ring = tmp_path / "keyring.json"
    code = 75 if store.startswith("postgres") else 65 if store.startswith("mysql") else 1
    said = told(capsys, "create", "--store", store, "--keyring", str(ring), code=code)
    assert "word" not in said
    assert "wellbe_keys" not in said
    assert "the task retries" not in said
    if code == 75:
        assert "key store in PostgreSQL, 127.0.0.1 keys: cannot be reached" in said
    assert list(tmp_path.iterdir()) == []
    Keyring.create(ring)
    told(capsys, "create", "--store", store, "--keyring", str(ring), code=code)
    assert [found.name for found in tmp_path.iterdir()] == ["keyring.json"]


@pytest.mark.parametrize("action", ["backup", "restore", "new-version"])
@pytest.mark.parametrize("argument", ["", "/", "postgresql://owner:word@127.0.0.1/keys"])
def test_what_names_no_file_is_refused(
    filled: str,
    capsys: pytest.CaptureFixture[str],
    action: str,
    argument: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = told(capsys, action, argument, code=65)
    assert "names no file" in said
    assert "word" not in said
    assert list(tmp_path.iterdir()) == []


def test_restore_of_a_file_that_is_not_there_does_not_ask_to_restore_it(
    filled: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = told(capsys, "restore", str(tmp_path / "nowhere"), code=65)
    assert "there is no such file; name one that `governance keys backup FILE` has written" in said


def test_destroy_of_what_is_no_text_is_refused(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "destroy", "subject", "client \udcff", "--reason", "r", "--yes", code=65)
    assert "an argument is no text in UTF-8" in said


@pytest.mark.clause("M1")
def test_destroy_while_somebody_else_is_at_the_keys_says_that_the_key_lives_and_what_to_do(
    site: Site, filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = Batch("keys", "all", "other")
    with connect(site.dsn(keeping.ROLE)) as other, other.exclusive(batch):
        said = told(capsys, "destroy", "subject", filled, "--reason", "request 17", "--yes", code=75)
        assert "nothing was destroyed, the key lives: repeat the command" in said
        assert "the task retries" not in said
        assert "nothing was changed: repeat the command" in told(capsys, "rotate", code=75)
    assert "destroyed at" in told(capsys, "destroy", "subject", filled, "--reason", "request 17", "--yes")


def test_an_unsound_store_is_not_sent_to_the_audit_that_found_it(
    site: Site, filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.key_store_path.write_bytes(b"not a store" * 1000)
    said = told(capsys, "audit", code=1)
    assert "not a sound key store" in said
    assert "keys audit" not in said
    assert "keys restore BACKUP" in said


def test_an_empty_store_in_place_of_the_right_one_is_found_by_audit_and_left_for_a_backup(
    site: Site, filled: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    told(capsys, "rotate")
    told(capsys, "backup", str(backup))
    site.key_store_path.unlink()
    told(capsys, "create", "--store", str(site.key_store_path), "--keyring", str(site.keyring_path))
    missed = "keys that the run log knows of are not in this store"
    assert f"PROBLEM  7 {missed}" in told(capsys, "audit", code=1)
    assert missed in told(capsys, "rotate", code=1)
    assert "Where that is the wrong one, take it away and restore again" in told(
        capsys, "restore", str(backup), code=65
    )
    site.key_store_path.unlink()
    said = told(capsys, "restore", str(backup))
    # By the machine's clock the world's card hour and days are long over.
    assert "4 keys came back" in said
    assert "3 keys that the run log knew of did not" in said
    assert missed not in told(capsys, "audit")
