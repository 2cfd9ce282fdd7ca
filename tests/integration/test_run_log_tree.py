"""The run log has one order, whatever falls on its head: kills, two sequencers, a full disk, a clock, old databases."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

import builders
from builders import NOW, World
from faults import Stop, killed
from governance import steps
from governance.embedded import control
from governance.embedded.postgres import program
from governance.embedded.site import Site
from governance.errors import (
    CheckpointsUnavailableError,
    ContendedError,
    GovernanceError,
    InputError,
    RunLogError,
)
from governance.log_tree import LogTree
from governance.merkle import inclusion_proof, leaf_hash, root, verify_inclusion
from governance.notes import opened
from governance.signers import CheckpointFolder, Signers
from governance.steps import Workspace, sequencing
from governance.warehouse import connect
from run_logs import Auditor, Insider, append, attempt, own_look, scalar, signed_log

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1"), pytest.mark.usefixtures("world")]


@pytest.fixture
def insider(site: Site) -> Iterator[Insider]:
    """Somebody with every right."""
    somebody = Insider(site)
    yield somebody
    somebody.close()


def leaves(site: Site) -> list[bytes]:
    """The leaves in order; none of them is gone."""
    with LogTree.connected(site.dsn("auditor")) as tree:
        found = list(tree.leaves())
    assert [index for index, _ in found] == list(range(len(found)))
    assert all(leaf is not None for _, leaf in found)
    return [leaf for _, leaf in found if leaf is not None]


def ids(site: Site) -> list[str]:
    """The entries in order."""
    return [json.loads(leaf)["entry"]["entry_id"] for leaf in leaves(site)]


def is_whole(site: Site) -> bool:
    """Whether every entry has exactly one place, the tiles fit, and nothing waits."""
    hashes = [leaf_hash(leaf) for leaf in leaves(site)]
    with LogTree.connected(site.dsn("auditor")) as tree:
        assert tree.hashes().hash_of(0, len(hashes)) == root(hashes)
    return scalar(site, "SELECT count(*) FROM audit.run_log") == len(set(ids(site))) == len(hashes) and not scalar(
        site, "SELECT count(*) FROM audit.pending"
    )


# -- order -------------------------------------------------------------------------------------------------------------


def test_an_entry_waits_for_nobody_and_has_its_place_after_the_next_sequencing(site: Site, space: Workspace) -> None:
    made = append(site, 3)
    assert leaves(site) == []
    assert scalar(site, "SELECT count(*) FROM audit.pending") == 6
    assert steps.sequence(space) == {"integrated": 6}
    assert ids(site) == made
    assert steps.sequence(space) == {"integrated": 0}
    assert is_whole(site)


def test_an_entry_that_is_undone_with_its_effect_never_waits(site: Site, space: Workspace) -> None:
    append(site, 1)
    entry = attempt().intent(entry_id=str(uuid.uuid4()), at=NOW)
    with closing(psycopg2.connect(site.dsn("recorder"))) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit.append(%s)", (entry.canonical(),))
        connection.rollback()
    assert steps.sequence(space) == {"integrated": 2}


def test_a_transaction_that_is_open_holds_nobody_up_and_its_entry_comes_later(site: Site, space: Workspace) -> None:
    entry = attempt().intent(entry_id=str(uuid.uuid4()), at=NOW)
    with closing(psycopg2.connect(site.dsn("recorder"))) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit.append(%s)", (entry.canonical(),))
        others = append(site, 2)
        assert steps.sequence(space) == {"integrated": 4}
        connection.commit()
    assert steps.sequence(space) == {"integrated": 1}
    assert ids(site) == [*others, entry.entry_id]


@pytest.mark.parametrize("attempts", [127, 128, 129])
def test_tiles_are_right_on_both_sides_of_a_full_one(site: Site, space: Workspace, attempts: int) -> None:
    append(site, attempts)
    steps.sequence(space)
    append(site, 2)
    steps.sequence(space)
    assert is_whole(site)
    with LogTree.connected(site.dsn("auditor")) as tree:
        size, hashes, held = tree.size(), tree.hashes(), leaves(site)
        for index in (0, 1, size // 2, size - 1):
            proof = inclusion_proof(index, size, hashes.hash_of)
            verify_inclusion(index, size, leaf_hash(held[index]), proof, hashes.hash_of(0, size))


def test_an_entry_keeps_what_the_database_knows_of_it(site: Site, space: Workspace) -> None:
    append(site, 1)
    steps.sequence(space)
    leaf = json.loads(leaves(site)[0])
    session = scalar(site, "SELECT max(session_no) FROM audit.sessions WHERE database_login = 'recorder'")
    assert leaf["database_session"] == session
    assert (leaf["database_login"], leaf["database_role"]) == ("recorder", "recorder")
    assert set(leaf) == {"database_login", "database_role", "database_session", "entry", "written_at"}


# -- two at once -------------------------------------------------------------------------------------------------------


def test_a_second_sequencer_leaves_the_first_alone(site: Site, space: Workspace) -> None:
    append(site, 1)
    with closing(psycopg2.connect(site.dsn("postgres"), dbname="governance")) as connection, connection.cursor() as c:
        c.execute("SELECT pg_advisory_xact_lock(hashtextextended('governance sequencer', 0))")
        with pytest.raises(ContendedError, match="another sequencer"):
            steps.sequence(space)
    assert steps.sequence(space) == {"integrated": 2}


def test_writers_and_sequencers_all_at_once_leave_one_tree_with_every_entry_once(site: Site, space: Workspace) -> None:
    made: list[str] = []
    writers = [threading.Thread(target=lambda: made.extend(append(site, 40))) for _ in range(4)]
    errors: list[BaseException] = []

    def keep_sequencing() -> None:
        while any(writer.is_alive() for writer in writers):
            try:
                steps.sequence(space)
            except ContendedError:
                continue
            except BaseException as error:
                errors.append(error)
                raise

    sequencers = [threading.Thread(target=keep_sequencing) for _ in range(2)]
    for thread in (*writers, *sequencers):
        thread.start()
    for thread in (*writers, *sequencers):
        thread.join()
    steps.sequence(space)
    assert not errors
    assert len(made) == 320
    assert sorted(ids(site)) == sorted(made)
    assert is_whole(site)


def test_two_checkpoints_at_once_take_turns(site: Site, space: Workspace) -> None:
    append(site, 1)
    with (
        connect(site.dsn("sequencer")) as other,
        other.exclusive(sequencing._attempt(space, "x", builders.run()).batch),
        pytest.raises(ContendedError),
    ):
        steps.checkpoint(space, builders.run())
    assert steps.checkpoint(space, builders.run()).size == 4  # the refusal is an entry, and the heartbeat


# -- kills -------------------------------------------------------------------------------------------------------------


def in_place_of(owner: Any, name: str, *, after: bool) -> Callable[[Stop], None]:
    """A point before, or after, a call."""

    def place(stop: Stop) -> None:
        original = getattr(owner, name)

        def stopped(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named) if after else None
            stop()
            return result

        setattr(owner, name, stopped)

    return place


POINTS = {
    "before the heartbeat": in_place_of(sequencing, "_heartbeat", after=False),
    "after the heartbeat": in_place_of(sequencing, "_heartbeat", after=True),
    "before the places are given": in_place_of(LogTree, "_integrate", after=False),
    "before the places are committed": in_place_of(LogTree, "_integrate", after=True),
    "after the places are given": in_place_of(LogTree, "sequence", after=True),
    "before the keys are published": in_place_of(CheckpointFolder, "publish_keys", after=False),
    "before the note is kept": in_place_of(LogTree, "keep_checkpoint", after=False),
    "after the note is kept": in_place_of(LogTree, "keep_checkpoint", after=True),
    "in the middle of publishing": in_place_of(os, "fsync", after=False),
    "after the note is published": in_place_of(CheckpointFolder, "publish", after=True),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_checkpoint_that_is_killed_anywhere_leaves_a_log_that_goes_on(
    site: Site, space: Workspace, tmp_path: Path, point: str
) -> None:
    signed_log(site)
    auditor = Auditor(site, tmp_path / "auditor")
    auditor.meet()
    append(site, 3)
    killed(lambda: steps.checkpoint(space, builders.run()), POINTS[point])
    signed = steps.checkpoint(space, builders.run())
    assert is_whole(site)
    assert not own_look(site).problems
    auditor.pull()
    assert auditor.verifies(), auditor.said
    assert auditor.newest().name.startswith(f"{signed.size:012d}-")
    assert not list(site.checkpoints_path.glob(".*"))


ROTATION = {
    "before the new key is saved": in_place_of(Signers, "save", after=False),
    "after the new key is saved": in_place_of(Signers, "save", after=True),
    "after it is announced": in_place_of(sequencing, "_announce", after=True),
    "after the checkpoint": in_place_of(sequencing, "checkpoint", after=True),
}


@pytest.mark.parametrize("point", ROTATION)
def test_a_rotation_of_the_signing_key_that_is_killed_anywhere_is_finished_by_the_next(
    site: Site, space: Workspace, tmp_path: Path, point: str
) -> None:
    signed_log(site)
    auditor = Auditor(site, tmp_path / "auditor")
    auditor.meet()
    (before,) = Signers.load(site.signers_path).verifiers
    killed(lambda: steps.rotate_signing_key(space, builders.run()), ROTATION[point])
    steps.rotate_signing_key(space, builders.run())
    (now,) = Signers.load(site.signers_path).verifiers
    assert now != before
    assert now.name == before.name
    # He still has the old key alone: the checkpoint of the hand-over carries its signature.
    auditor.pull()
    assert auditor.verifies(), auditor.said
    assert any(str(now) in leaf.decode() for leaf in leaves(site))
    steps.checkpoint(space, builders.run())
    assert not auditor.verifies()
    auditor.keys.write_text(f"{before}\n{now}\n")
    assert auditor.verifies(), auditor.said


# -- a full disk, a clock ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table", ["audit.leaves", "audit.tiles", "audit.checkpoints", "audit.pending", "audit.run_log"]
)
def test_a_full_disk_leaves_the_log_as_it_was_and_the_next_run_goes_on(
    site: Site, space: Workspace, insider: Insider, table: str
) -> None:
    signed_log(site)
    append(site, 2)
    before = (scalar(site, "SELECT count(*) FROM audit.leaves"), sorted(site.checkpoints_path.iterdir()))
    insider.sql(
        "CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$"
    )
    insider.sql(f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION public.full_disk()")
    try:
        with pytest.raises(GovernanceError):
            steps.checkpoint(space, builders.run())
    finally:
        insider.sql(f"DROP TRIGGER full_disk ON {table}")
        insider.sql("DROP FUNCTION public.full_disk")
    if table != "audit.checkpoints":  # there, the places were given already
        assert scalar(site, "SELECT count(*) FROM audit.leaves") == before[0]
    assert sorted(site.checkpoints_path.iterdir()) == before[1]
    steps.checkpoint(space, builders.run())
    assert is_whole(site)
    assert not own_look(site).problems


def test_a_disk_that_is_full_where_checkpoints_are_published_publishes_later(
    site: Site, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_log(site)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(CheckpointsUnavailableError, match="No space left"):
            steps.checkpoint(space, builders.run())
    signed = steps.checkpoint(space, builders.run())
    published = CheckpointFolder(site.checkpoints_path).latest(signed.origin)
    assert published is not None
    assert published[0] == signed
    assert not own_look(site).problems


def test_a_clock_that_jumps_back_is_said_by_the_kit_and_breaks_nothing(
    site: Site, space: Workspace, insider: Insider, tmp_path: Path
) -> None:
    signed_log(site)
    auditor = Auditor(site, tmp_path / "auditor")
    auditor.meet()
    append(site, 2)
    # What a server whose clock stands an hour behind would have written.
    insider.sql("UPDATE audit.run_log SET written_at = written_at - interval '1 hour' "
                "WHERE entry_id IN (SELECT entry_id FROM audit.pending)")  # fmt: skip
    insider.sql("UPDATE audit.pending SET written_at = written_at - interval '1 hour'")
    steps.checkpoint(space, builders.run())
    assert is_whole(site)
    auditor.pull()
    assert auditor.verifies(), auditor.said
    assert "back" in auditor.said


# -- an older database -------------------------------------------------------------------------------------------------


def dump(site: Site, path: Path) -> None:
    """A dump of the log, as a backup takes it."""
    environment = {**site.libpq_environment("postgres"), "PGDATABASE": "governance", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [str(program("pg_dump")), "--data-only", "--schema=audit", "--exclude-table=audit.sessions",
        "--disable-triggers", f"--file={path}"], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def put_back(site: Site, insider: Insider, path: Path) -> None:
    """The log as it was when the dump was taken; connections are noted on, for this server has gone on."""
    insider.sql("TRUNCATE audit.run_log, audit.leaves, audit.tiles, audit.pending, audit.checkpoints, audit.texts")
    environment = {**site.libpq_environment("postgres"), "PGDATABASE": "governance", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [str(program("psql")), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", f"--file={path}"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_database_put_back_to_before_the_last_checkpoint_is_said_and_not_repaired(
    site: Site, space: Workspace, insider: Insider, tmp_path: Path
) -> None:
    first = signed_log(site)
    auditor = Auditor(site, tmp_path / "auditor")
    auditor.meet()
    dump(site, tmp_path / "audit.sql")
    lost = signed_log(site)
    auditor.pull()
    put_back(site, insider, tmp_path / "audit.sql")
    published = sorted(site.checkpoints_path.iterdir())
    append(site, 2)
    for _ in range(2):  # every hour, not once
        with pytest.raises(RunLogError, match=f"its last checkpoint says {lost.size}") as raised:
            steps.checkpoint(space, builders.run())
        assert "acknowledge-restore" in str(raised.value)
    steps.sequence(space)  # entries have their order all the same
    append(site, 20)
    steps.sequence(space)
    with pytest.raises(RunLogError, match="are not those of its last checkpoint"):  # it has grown past it meanwhile
        steps.checkpoint(space, builders.run())
    assert sorted(site.checkpoints_path.iterdir()) == published
    assert own_look(site).problems
    assert not auditor.verifies()

    signed = steps.acknowledge_restore(space, "restored from the backup of the night", builders.run())
    assert signed.origin == f"{first.origin}/2"
    said = [json.loads(leaf)["entry"] for leaf in leaves(site)]
    (acknowledged,) = [entry for entry in said if entry["event"] == "acknowledge_restore"]
    assert acknowledged["reason"] == "restored from the backup of the night"
    assert acknowledged["details"]["lost_checkpoint"].split()[:2] == [first.origin, str(lost.size)]
    assert [(e["event"], e["outcome"]) for e in said if e["event"] == "checkpoint"] == [("checkpoint", "failed")] * 3
    assert steps.checkpoint(space, builders.run()).size == signed.size + 1
    with pytest.raises(InputError, match="nothing to acknowledge"):
        steps.acknowledge_restore(space, "again", builders.run())
    # The checkpoints of before stay unmet; one who begins with the new ones verifies the log as it is.
    assert not auditor.verifies()
    later = Auditor(site, tmp_path / "later")
    later.folder.mkdir()
    later.keys.write_bytes((site.checkpoints_path / "keys.txt").read_bytes())
    newest = max(site.checkpoints_path.glob("*.checkpoint"), key=lambda path: opened(
        path.read_text(), CheckpointFolder(site.checkpoints_path).verifiers()).origin)  # fmt: skip
    assert later.kit("log", later.export(), newest) == 0, later.said


def test_an_entry_that_is_gone_before_it_had_its_place_stops_the_sequencer_and_hides_nobody_else(
    site: Site, space: Workspace, insider: Insider
) -> None:
    signed_log(site)
    gone, *others = append(site, 2)
    insider.sql("DELETE FROM audit.run_log WHERE entry_id = %s", gone)
    with pytest.raises(RunLogError, match=f"1 entries were appended to the run log and are gone.*{gone}"):
        steps.sequence(space)
    assert set(others) <= set(ids(site))
    with pytest.raises(RunLogError, match="are gone"):
        steps.checkpoint(space, builders.run())


def test_tiles_that_do_not_fit_stop_the_sequencer(site: Site, space: Workspace, insider: Insider) -> None:
    signed_log(site)
    insider.sql("DELETE FROM audit.tiles")
    append(site, 1)
    with pytest.raises(RunLogError, match="tiles do not fit"):
        steps.sequence(space)
    assert own_look(site).problems


# -- signing -----------------------------------------------------------------------------------------------------------


def test_a_quiet_hour_is_provably_one(site: Site, space: Workspace) -> None:
    signed_log(site)
    for _ in range(3):
        steps.checkpoint(space, builders.run())
    assert [json.loads(leaf)["entry"]["event"] for leaf in leaves(site)[-4:]] == ["heartbeat"] * 4
    sizes = [opened(note, CheckpointFolder(site.checkpoints_path).verifiers()).size
             for note in CheckpointFolder(site.checkpoints_path).notes()]  # fmt: skip
    assert sizes == [21, 22, 23, 24]


def test_entries_that_wait_too_long_are_an_alarm_in_the_next_heartbeat(
    site: Site, space: Workspace, insider: Insider
) -> None:
    append(site, 1)
    insider.sql("UPDATE audit.pending SET written_at = %s - interval '31 minutes'", NOW)
    steps.checkpoint(space, builders.run())
    heartbeat = json.loads(leaves(site)[-1])["entry"]
    assert heartbeat["alarms"] == ["R1 2 entries waited longer than 30 minutes for their place"]


def test_a_signer_that_is_lost_is_never_made_anew(site: Site, space: Workspace) -> None:
    signed_log(site)
    held = site.signers_path.read_bytes()
    site.signers_path.unlink()
    try:
        with pytest.raises(RunLogError, match="restore the file"):
            control._bring_signers(site)
        assert not site.signers_path.exists()
        with pytest.raises(RunLogError):
            steps.checkpoint(space, builders.run())
    finally:
        site.signers_path.write_bytes(held)
        site.signers_path.chmod(0o600)


def test_a_published_checkpoint_that_was_changed_stops_the_next(site: Site, space: Workspace) -> None:
    signed_log(site)
    (path,) = site.checkpoints_path.glob("*.checkpoint")
    path.write_text(path.read_text().replace("\n21\n", "\n20\n"))
    with pytest.raises(RunLogError, match="it was changed, in"):
        steps.checkpoint(space, builders.run())


def test_the_log_is_kept_without_end_and_policy_says_why(world: World) -> None:
    rule = builders.POLICY.retention.rules["run_log"]
    assert (rule.table, rule.act, rule.clause) == ("audit.run_log", "keep", "R1")
    assert "no personal data" in rule.rationale
