"""Whatever somebody with every right on our database, and with our signing key, does to the run log: the auditor
notices.

The auditor has a program of his own and one checkpoint from before. The insider covers his traces as well as he can:
he makes the tree anew, signs it with the real key and removes every checkpoint that says otherwise.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import World
from governance.embedded.site import Site
from governance.notes import Signer
from governance.signers import Signers, new_origin
from governance.sources import named_query
from run_logs import Auditor, Insider, Tamper, append, own_look, signed_log

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

OLD = 21  # leaves at the auditor's checkpoint: ten attempts of two entries, and the heartbeat


@pytest.fixture
def auditor(site: Site, world: World, tmp_path: Path) -> Auditor:
    """An auditor who has pulled a checkpoint of a log that has grown since, and was signed again."""
    assert signed_log(site).size == OLD
    known = Auditor(site, tmp_path / "auditor")
    known.meet()
    signed_log(site)
    assert known.verifies(), known.said
    return known


@pytest.fixture
def insider(site: Site) -> Iterator[Insider]:
    """Somebody with every right."""
    somebody = Insider(site)
    yield somebody
    somebody.close()


def at(insider: Insider, index: int) -> str:
    """The entry at a place, as an SQL literal."""
    return f"(SELECT entry_id FROM audit.leaves WHERE leaf_index = {index})"


# -- one byte ----------------------------------------------------------------------------------------------------------

FIELDS = {
    "a count": "entry = replace(entry, '\"rows\":1', '\"rows\":2')",
    "the outcome": "entry = replace(entry, '\"passed\"', '\"failed\"')",
    "an instant": "entry = replace(entry, '2026-03-12T09', '2026-03-12T08')",
    "who started it": "entry = replace(entry, '\"tester\"', '\"testes\"')",
    "a clause": "entry = replace(entry, '\"A1\"', '\"A2\"')",
    "a digest": 'entry = replace(entry, \'"policy":"p"\', \'"policy":"q"\')',
    "a space": "entry = entry || ' '",
    "when it was written": "written_at = written_at + interval '1 microsecond'",
    "the role": "database_role = 'publisher'",
    "the login": "database_login = 'custodian'",
    "the connection": "database_session = database_session + 1",
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("is_covered_up", [False, True], ids=["left so", "covered up"])
def test_an_edit_of_one_byte_of_any_field_is_noticed(
    site: Site, auditor: Auditor, insider: Insider, name: str, is_covered_up: bool
) -> None:
    before = auditor.export().read_bytes()
    insider.sql(f"UPDATE audit.run_log SET {FIELDS[name]} WHERE entry_id = {at(insider, 3)}")
    assert auditor.export().read_bytes() != before
    if is_covered_up:
        insider.rehash()
        insider.resign()
        assert not own_look(site).problems  # nothing in the database contradicts it any more
    else:
        assert own_look(site).problems
    assert not auditor.verifies()
    assert "NOT VERIFIED" in auditor.said


# -- entries that go, come, or change places ---------------------------------------------------------------------------


def delete(insider: Insider, first: int, last: int) -> None:
    """Entries gone, as if they had never been."""
    gone = [entry_id for (entry_id,) in insider.sql(
        "SELECT entry_id::text FROM audit.leaves WHERE leaf_index BETWEEN %s AND %s", first, last)]  # fmt: skip
    insider.sql("DELETE FROM audit.run_log WHERE entry_id = ANY(%s::uuid[])", gone)


def swap(insider: Insider) -> None:
    """Two entries in each other's place."""
    order = insider.order()
    order[4], order[5] = order[5], order[4]
    insider.rehash(order)


def copy_of(insider: Insider, index: int, changes: str) -> str:
    """Another entry like the one at a place; returns its id."""
    new = str(uuid.uuid4())
    insider.sql(
        "INSERT INTO audit.run_log (entry_id, written_at, database_role, database_login, database_session, entry) "
        f"SELECT %s, {changes}, database_role, database_login, database_session, replace(entry, entry_id::text, %s) "
        f"FROM audit.run_log WHERE entry_id = {at(insider, index)}",
        new, new,
    )  # fmt: skip
    return new


def duplicate(insider: Insider) -> None:
    """An entry twice, side by side."""
    order = insider.order()
    insider.rehash([*order[:6], copy_of(insider, 5, "written_at"), *order[6:]])


def insert(insider: Insider) -> None:
    """An entry of today among those of before."""
    order = insider.order()
    insider.rehash([*order[:6], copy_of(insider, 5, "clock_timestamp()"), *order[6:]])


def back_date(insider: Insider) -> None:
    """An entry that claims to be of last week, where last week's would stand."""
    order = insider.order()
    insider.rehash([copy_of(insider, 5, "written_at - interval '7 days'"), *order])


def recreate(insider: Insider) -> None:
    """The table dropped and made anew, with other rows."""
    insider.sql("CREATE TABLE audit.kept AS SELECT * FROM audit.run_log")
    insider.sql("DELETE FROM audit.run_log")
    insider.sql(
        "INSERT INTO audit.run_log (entry_id, written_at, database_role, database_login, database_session, entry) "
        "SELECT entry_id, written_at, database_role, database_login, database_session, "
        "replace(entry, '\"rows\"', '\"rowz\"') FROM audit.kept"
    )
    insider.sql("DROP TABLE audit.kept")


def truncate(insider: Insider) -> None:
    """Nothing left."""
    insider.sql("TRUNCATE audit.run_log, audit.leaves, audit.tiles, audit.pending, audit.checkpoints")


TAMPERS: dict[str, Tamper] = {
    "the head deleted": lambda insider: delete(insider, 0, 1),
    "a middle deleted": lambda insider: delete(insider, 8, 9),
    "the tail deleted to before the checkpoint": lambda insider: delete(insider, OLD - 1, 100),
    "two swapped": swap,
    "one duplicated": duplicate,
    "one inserted": insert,
    "one back-dated": back_date,
    "the table recreated": recreate,
    "everything truncated": truncate,
}


@pytest.mark.parametrize("name", TAMPERS)
def test_what_is_removed_added_or_moved_is_noticed_though_everything_is_hashed_and_signed_anew(
    site: Site, auditor: Auditor, insider: Insider, name: str
) -> None:
    TAMPERS[name](insider)
    if name in ("two swapped", "one duplicated", "one inserted", "one back-dated"):
        assert own_look(site).problems
    else:
        insider.rehash()
    insider.resign()
    assert not own_look(site).problems
    assert not auditor.verifies(), auditor.said
    assert "NOT VERIFIED" in auditor.said


@pytest.mark.parametrize("name", ["the head deleted", "a middle deleted", "the tail deleted to before the checkpoint",
                                  "the table recreated", "everything truncated"])  # fmt: skip
def test_what_is_not_covered_up_the_log_says_itself(site: Site, auditor: Auditor, insider: Insider, name: str) -> None:
    TAMPERS[name](insider)
    assert own_look(site).problems
    assert not auditor.verifies()


def test_an_entry_that_is_hidden_while_its_place_stays_is_noticed(
    site: Site, auditor: Auditor, insider: Insider
) -> None:
    insider.sql(f"DELETE FROM audit.run_log WHERE entry_id = {at(insider, 7)}")
    assert "entry 7 is gone from audit.run_log, its place is still there" in own_look(site).problems
    assert not auditor.verifies()


def test_an_entry_that_is_taken_out_of_the_queue_is_noticed(site: Site, auditor: Auditor, insider: Insider) -> None:
    append(site, 1)
    insider.sql("TRUNCATE audit.pending")
    assert any("somebody took them out of the tree" in problem for problem in own_look(site).problems)


def test_a_column_that_no_longer_says_what_its_entry_says_is_noticed(
    site: Site, auditor: Auditor, insider: Insider
) -> None:
    assert insider.sql(named_query("log/columns_not_generated")) == []
    insider.sql("BEGIN")
    try:
        insider.sql("ALTER TABLE audit.run_log ALTER COLUMN outcome DROP EXPRESSION")
        assert insider.sql(named_query("log/columns_not_generated")) == [("outcome",)]
    finally:
        insider.sql("ROLLBACK")


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_an_older_backup_put_back_and_signed_is_noticed(site: Site, auditor: Auditor, insider: Insider) -> None:
    auditor.pull()
    delete(insider, OLD, 100)
    insider.rehash()
    insider.resign()
    assert not own_look(site).problems
    assert not auditor.verifies()


def test_two_logs_shown_to_two_auditors_are_noticed_when_they_compare(
    site: Site, auditor: Auditor, insider: Insider, tmp_path: Path
) -> None:
    other = Auditor(site, tmp_path / "other")
    auditor.pull()
    insider.sql(f"UPDATE audit.run_log SET {FIELDS['a count']} WHERE entry_id = {at(insider, OLD + 1)}")
    insider.rehash()
    insider.resign()
    other.meet()
    assert other.verifies()
    for path in other.held.glob("*.checkpoint"):
        shutil.copy(path, auditor.held / f"from-the-other-{path.name}")
    assert not auditor.verifies()


def test_a_log_signed_with_another_key_is_noticed(site: Site, auditor: Auditor, insider: Insider) -> None:
    origin = Signers.load(site.signers_path).origin
    insider.resign(Signers((Signer.of_seed(origin, bytes(32)),)))
    assert not auditor.verifies()


@pytest.mark.parametrize("line", [1, 2])
def test_a_checkpoint_that_is_changed_is_noticed(auditor: Auditor, line: int) -> None:
    path = auditor.newest()
    lines = path.read_text("utf-8").split("\n")
    lines[line] = str(int(lines[1]) - 1) if line == 1 else ("A" if lines[2][0] != "A" else "B") + lines[2][1:]
    path.write_text("\n".join(lines), "utf-8")
    assert not auditor.verifies()


def test_the_log_of_another_system_is_noticed(site: Site, auditor: Auditor, insider: Insider) -> None:
    insider.resign(Signers((Signer.of_seed(new_origin(), bytes(32)),)))
    shutil.copy(site.checkpoints_path / "keys.txt", auditor.keys)  # even if he took its key for ours
    assert not auditor.verifies()


def test_an_honest_log_goes_on_being_verified(site: Site, auditor: Auditor) -> None:
    for _ in range(3):
        signed_log(site, 2)
        auditor.pull()
        assert auditor.verifies(), auditor.said
    assert not own_look(site).problems
