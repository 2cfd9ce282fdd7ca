"""What the operator hands to an auditor, an authority or a data subject, and what he sees himself."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import builders
from aftermath import entries, governance, through
from builders import DAY, World
from governance import steps
from governance.embedded.site import Site
from governance.log_tree import LogTree
from governance.rules import suite_digest
from governance.signers import CheckpointFolder, Signers, new_origin
from governance.steps import Workspace
from governance.validation import load_suite
from run_logs import Auditor, Insider, append, signed_log

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1"), pytest.mark.usefixtures("world")]

KEY = DAY.isoformat()
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def auditor(here: Site, tmp_path: Path) -> Auditor:
    """An auditor who holds the checkpoint of ten attempts."""
    signed_log(here)
    somebody = Auditor(here, tmp_path / "auditor")
    somebody.meet()
    return somebody


# -- verify-log --------------------------------------------------------------------------------------------------------


def test_a_sound_log_is_verified_whole_and_from_a_checkpoint_on(auditor: Auditor, here: Site, capsys: Capture) -> None:
    held = auditor.newest()
    signed_log(here, 4)
    append(here, 1)
    assert governance("verify-log") == 0
    said = capsys.readouterr().out
    assert "30 entries compared with 2 checkpoints" in said
    assert "2 entries wait for their place" in said
    assert said.endswith("the log is what its checkpoints say\n")
    assert governance("verify-log", "--since", str(held), "--keys", str(auditor.keys)) == 0
    assert "9 entries compared with 2 checkpoints" in capsys.readouterr().out


def test_a_log_that_was_changed_is_said_to_be_so(auditor: Auditor, here: Site, capsys: Capture) -> None:
    insider = Insider(here)
    insider.sql("UPDATE audit.run_log SET written_at = written_at + interval '1 second' WHERE event = 'validate'")
    insider.close()
    assert governance("verify-log") == 1
    said = capsys.readouterr().out
    assert "NOT VERIFIED: the first 21 entries are not those of the checkpoint of 21: they were changed" in said
    assert said.endswith("the log is NOT what its checkpoints say\n")


def test_a_log_that_is_shorter_than_the_checkpoint_that_is_held_is_said_to_be_so(
    auditor: Auditor, here: Site, capsys: Capture
) -> None:
    held = auditor.held / auditor.newest().name
    insider = Insider(here)
    insider.rehash(insider.order()[:10])
    insider.resign()
    insider.close()
    assert governance("verify-log", "--since", str(held), "--keys", str(auditor.keys)) == 1
    assert "the log has 10 entries, the checkpoint says 21: it was cut" in capsys.readouterr().err


def test_a_log_without_a_checkpoint_is_not_called_verified(here: Site, capsys: Capture) -> None:
    append(here, 2)
    assert governance("verify-log") == 1
    assert "NOT VERIFIED: there is no checkpoint of it to compare with" in capsys.readouterr().out


def test_a_first_key_never_takes_the_place_of_one_that_is_there(here: Site) -> None:
    before = here.signers_path.read_bytes()
    with pytest.raises(FileExistsError):
        Signers.create(here.signers_path, new_origin())
    assert here.signers_path.read_bytes() == before
    assert not list(here.data_dir.glob(".*draft"))


@pytest.mark.parametrize("content", ["", "nonsense", "a\n1\nb\n\n— a b\n"])
def test_what_is_no_checkpoint_is_refused(auditor: Auditor, tmp_path: Path, capsys: Capture, content: str) -> None:
    path = tmp_path / "note"
    path.write_text(content)
    assert governance("verify-log", "--since", str(path)) == 65
    assert "is no checkpoint of this log" in capsys.readouterr().err
    assert governance("verify-log", "--since", str(tmp_path)) == 65
    assert "cannot be read" in capsys.readouterr().err


# -- proofs ------------------------------------------------------------------------------------------------------------


def test_an_entry_is_proven_to_somebody_who_sees_no_other(auditor: Auditor, here: Site, capsys: Capture) -> None:
    entry_id = entries(here, "validate", "outcome")[3]["entry_id"]
    assert governance("prove-entry", entry_id, "--folder", str(auditor.folder)) == 0
    leaf, proof = auditor.folder / f"{entry_id}.entry", auditor.folder / f"{entry_id}.tlog-proof"
    assert auditor.kit("entry", leaf, proof) == 0, auditor.said
    assert entry_id in auditor.said
    others = {entry["entry_id"] for entry in entries(here)} - {entry_id}
    assert not [other for other in others if other in leaf.read_text() + proof.read_text()]
    leaf.write_bytes(leaf.read_bytes().replace(b'"rows":13', b'"rows":14'))
    assert auditor.kit("entry", leaf, proof) == 1
    assert governance("prove-entry", entry_id) == 0
    assert "c2sp.org/tlog-proof@v1\nindex 7\n" in capsys.readouterr().out


def test_an_entry_that_has_no_place_or_no_checkpoint_yet_has_no_proof(
    auditor: Auditor, here: Site, space: Workspace, capsys: Capture
) -> None:
    entry_id = append(here, 1)[0]
    assert governance("prove-entry", entry_id) == 65
    assert "has a place in the tree" in capsys.readouterr().err
    steps.sequence(space)
    assert governance("prove-entry", entry_id) == 65
    assert "came after the last checkpoint" in capsys.readouterr().err
    assert governance("prove-entry", "17") == 65
    assert "is no id of an entry" in capsys.readouterr().err


def test_a_later_checkpoint_is_proven_to_begin_with_an_earlier_one(
    auditor: Auditor, here: Site, capsys: Capture
) -> None:
    old = auditor.held / auditor.newest().name
    signed_log(here, 3)
    assert governance("prove-consistency", str(old), str(auditor.newest())) == 0
    proof = auditor.folder / "proof"
    proof.write_text(capsys.readouterr().out)
    assert auditor.kit("consistency", old, proof) == 0, auditor.said
    assert "the 28 entries" in auditor.said


def test_the_log_is_handed_over_as_the_tree_hashes_it(auditor: Auditor, here: Site, capsys: Capture) -> None:
    path = auditor.folder / "log.jsonl"
    assert governance("log", "export", str(path)) == 0
    assert "21 entries" in capsys.readouterr().out
    assert path.read_bytes() == auditor.export().read_bytes()
    assert auditor.kit("log", path, auditor.newest(), auditor.held) == 0, auditor.said


def test_a_checkpoint_is_signed_on_demand_and_the_key_is_replaced(
    auditor: Auditor, here: Site, capsys: Capture
) -> None:
    assert governance("log", "checkpoint") == 0
    assert "22 entries, signed and published in" in capsys.readouterr().out
    assert governance("log", "rotate-key") == 0
    assert "new public key: wellbe.example/run-log/" in capsys.readouterr().out
    auditor.pull()
    assert auditor.verifies(), auditor.said
    assert governance("log", "acknowledge-restore", "nothing happened") == 65
    assert "there is nothing to acknowledge" in capsys.readouterr().err


# -- what lies where ---------------------------------------------------------------------------------------------------


def test_the_folder_is_readable_whatever_the_umask_of_whoever_makes_it(here: Site, space: Workspace) -> None:
    shutil.rmtree(here.checkpoints_path, ignore_errors=True)
    old = os.umask(0o077)
    try:
        CheckpointFolder(here.checkpoints_path).publish_keys(Signers.load(here.signers_path).verifiers)
    finally:
        os.umask(old)
    assert stat.S_IMODE(here.checkpoints_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("what", ["folder", "keys"])
def test_a_folder_that_is_away_is_said_to_be_so_and_nothing_is_signed(
    auditor: Auditor, here: Site, capsys: Capture, what: str
) -> None:
    gone = here.checkpoints_path if what == "folder" else here.checkpoints_path / "keys.txt"
    aside = gone.with_name(f"{gone.name}.aside")
    gone.rename(aside)
    for command in (("log", "checkpoint"), ("prove-entry", entries(here)[0]["entry_id"])):
        assert governance(*command) == 75
        assert "keys.txt is missing, and the log was signed before" in capsys.readouterr().err
    assert not list(here.checkpoints_path.glob("*.checkpoint")) or what == "keys"
    if gone.exists():
        gone.rmdir()
    aside.rename(gone)
    assert governance("log", "checkpoint") == 0


@pytest.mark.parametrize("content", [b"garbage\n", b"\xff\n"])
def test_public_keys_that_are_none_are_named(auditor: Auditor, here: Site, capsys: Capture, content: bytes) -> None:
    keys = here.checkpoints_path / "keys.txt"
    whole = keys.read_bytes()
    keys.write_bytes(whole + content)
    for command in (("log", "checkpoint"), ("verify-log",), ("prove-entry", entries(here)[0]["entry_id"])):
        assert governance(*command) == 1
        assert f"{keys} holds a line that is no public key" in capsys.readouterr().err
    keys.write_bytes(whole)


def test_a_checkpoint_that_is_no_file_is_named(auditor: Auditor, here: Site, capsys: Capture) -> None:
    odd = here.checkpoints_path / "9.checkpoint"
    odd.mkdir()
    for command in (("log", "checkpoint"), ("verify-log",)):
        assert governance(*command) == 75
        assert f"{odd} cannot be read" in capsys.readouterr().err
    odd.rmdir()


@pytest.mark.parametrize("file", ["/nonexistent/x", "/tmp", "", "/dev/full"])
def test_an_export_that_cannot_be_written_is_one_message_and_no_file(
    auditor: Auditor, capsys: Capture, file: str
) -> None:
    assert governance("log", "export", file) in (65, 74)
    assert "Traceback" not in capsys.readouterr().err
    assert file != "/dev/full" or Path(file).is_char_device()


def test_a_key_that_was_not_announced_never_signs(
    auditor: Auditor, here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Signers, "save", killed)
        assert governance("log", "rotate-key") == 130
    assert governance("log", "checkpoint") == 0
    assert len(CheckpointFolder(here.checkpoints_path).verifiers()) == 1
    assert governance("log", "rotate-key") == 0
    announced = {entry["details"]["verifier_key"] for entry in entries(here, "rotate_signing_key")}
    assert {str(key) for key in CheckpointFolder(here.checkpoints_path).verifiers()[1:]} <= announced


def test_damaged_tiles_are_no_reason_to_acknowledge_a_restore(auditor: Auditor, here: Site, capsys: Capture) -> None:
    insider = Insider(here)
    insider.sql("UPDATE audit.tiles SET hashes = substr(hashes, 1, length(hashes) - 32) WHERE level = 0")
    insider.close()
    keys = here.signers_path.read_bytes()
    for command in (("log", "checkpoint"), ("log", "acknowledge-restore", "ticket 5")):
        assert governance(*command) == 1
        assert "put table audit.tiles back from a backup" in capsys.readouterr().err
    assert here.signers_path.read_bytes() == keys


def test_checkpoints_are_pulled_by_another_user_who_reaches_nothing_else(auditor: Auditor, here: Site) -> None:
    folder = here.checkpoints_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    assert stat.S_IMODE(here.signers_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(here.data_dir.stat().st_mode) == 0o700
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # As nobody: reads what is published, changes none of it, and does not get at the keys that sign.
    for path in (folder, *folder.parents):  # the test's own folders are private
        if stat.S_IMODE(path.stat().st_mode) & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    newest = auditor.newest()
    for command, works in (
        (f"cat {newest}", True), (f"ls {folder}", True), (f"echo x >> {newest}", False), (f"rm -f {newest}", False),
        (f"mv {newest} {newest}.old", False), (f"touch {folder}/x", False), (f"cat {here.signers_path}", False),
    ):  # fmt: skip
        done = subprocess.run(["sh", "-c", command], user=65534, group=65534, capture_output=True, check=False)
        assert (done.returncode == 0) == works, command


# -- what the digests stand for ----------------------------------------------------------------------------------------


def test_every_version_of_policy_and_suite_that_was_used_can_be_read_by_its_digest(
    here: Site, world: World, space: Workspace, capsys: Capture
) -> None:
    world.crowd()
    through(space, "bookings", KEY)
    digests = entries(here, "validate")[0]["digests"]
    assert governance("log", "text", digests["policy"]) == 0
    listed = capsys.readouterr().out
    assert hashlib.sha256(listed.encode()).hexdigest() == digests["policy"]
    names = [line.split("  ")[1] for line in listed.splitlines()]
    assert {"policies/policy.yaml", "policies/bookings.yaml", "policies/keys.yaml"} <= set(names)
    for line in listed.splitlines():
        digest, name = line.split("  ")
        (content,) = builders.read(here, "SELECT content FROM audit.texts WHERE sha256 = %s", digest)[0]
        assert hashlib.sha256(content.encode()).hexdigest() == digest, name
    assert digests["suite"] == suite_digest(load_suite("bookings"))
    assert governance("log", "text", digests["suite"]) == 0
    assert json.loads(capsys.readouterr().out) == load_suite("bookings")
    assert governance("log", "text", "0" * 64) == 65
    assert "was ever used here" in capsys.readouterr().err


def test_a_text_that_was_kept_is_never_changed(here: Site, space: Workspace, world: World) -> None:
    world.view()
    through(space, "visits", KEY)
    for statement in ("UPDATE audit.texts SET name = 'x'", "DELETE FROM audit.texts", "TRUNCATE audit.texts"):
        with pytest.raises(Exception, match="append-only"):
            builders.read(here, statement)


def test_a_clause_is_explained_with_its_latest_entry_its_proof_and_the_texts_behind_it(
    here: Site, world: World, space: Workspace, auditor: Auditor, capsys: Capture
) -> None:
    from governance.commands import log_evidence

    world.crowd()
    through(space, "bookings", KEY)
    assert "not yet: the entry is newer" in "\n".join(log_evidence.lines(here, "L1"))
    steps.checkpoint(space, builders.run())
    told = "\n".join(log_evidence.lines(here, "L1"))
    published = entries(here, "publish", "outcome")[0]
    assert f"entry {published['entry_id']}" in told
    assert "publish of bookings, partition 2026-03-10: passed" in told
    assert "c2sp.org/tlog-proof@v1" in told
    assert f"policy {published['digests']['policy']}" in told
    assert "L1.adult_at_booking: expect_column_values_to_be_between on age_at_booking" in told
    proof = "\n".join(line[4:] for line in told.split("\n\n")[1].split("\n")[1:])
    with LogTree.connected(here.dsn("auditor")) as tree:
        place = tree.place_of(published["entry_id"])
    assert place is not None
    assert f"index {place[0]}" in proof
    assert "nothing in the run log serves this clause yet" in "\n".join(log_evidence.lines(here, "Z9"))
