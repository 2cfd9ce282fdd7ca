"""Disks that are full in the middle of a hop: that of data, of the write-ahead log, of the site's own files."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest

import builders
import faults
from aftermath import entries, outcomes, state, through
from builders import DAY, NOON, NOW, World
from governance import history, steps
from governance.embedded import control, postgres, processes
from governance.embedded.site import Site
from governance.errors import CheckpointsUnavailableError, KeyStoreUnavailableError, WarehouseUnavailableError
from governance.keyring import KEY_ENCRYPTION, Keyring
from governance.run_log import Batch
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1"), pytest.mark.slow]

KEY = DAY.isoformat()
VIEWS = 20_000
SPARE_KIB = {"base": 96 * 1024, "pg_wal": 64 * 1024}


ROOM_IN_THE_LOG = """
SELECT (('x' || substr(max(name), 9, 8))::bit(32)::bigint * 256 + ('x' || substr(max(name), 17))::bit(32)::bigint + 1)
       * 16 * 1024 * 1024 - (pg_current_wal_insert_lsn() - '0/0')
FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'
"""
"""Bytes that the write-ahead log can take in the segments that it has."""


def many_views(world: World, count: int) -> None:
    """Views that take more than one batch, in one statement."""
    world.execute(
        "INSERT INTO wellbe.page_views (view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, language, url, "
        "session_id) SELECT n, %s, %s, 1000, '192.0.2.' || n %% 200, 'Mozilla/5.0 (X11; Linux x86_64; rv:144.0)', "
        "'sv-SE', '/clinics/stockholm', 'session-' || n FROM generate_series(1, %s) n",
        NOON, NOON, count,
    )  # fmt: skip


# -- our database ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    """A site whose database has small disks for its data and for its write-ahead log."""

    site: Site
    disks: faults.SmallDisks

    @property
    def cluster(self) -> postgres.Cluster:
        """Its database."""
        return postgres.Cluster(self.site, "warehouse")

    def fill(self, part: str, leave: int = 0) -> None:
        """Leave so many bytes of a disk; of that of the log, a few hundred thousand more, for the intent."""
        builders.read(self.site, "CHECKPOINT", role="postgres")  # what waits in memory for its place is not the hop's
        self.disks.fill(self.cluster.folder / part, leave if part == "base" else 0)
        if part == "pg_wal":
            # Segments that are there already are written whatever the disk holds.
            ((room,),) = builders.read(self.site, ROOM_IN_THE_LOG, role="postgres")
            emit = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 500000)) FROM generate_series(1, %s)"
            builders.read(self.site, emit, max(0, (int(room) - 1_000_000 - leave) // 500_000), role="postgres")

    def mend(self) -> None:
        """Free the disks, and start the server again where it has ended."""
        for part in SPARE_KIB:
            self.disks.free(self.cluster.folder / part)
        server = postgres.postmaster(self.cluster)
        # A server that restarts by itself takes a moment, in which it may also find that it cannot.
        if server is None or processes.wait_gone([server], 1) == []:
            postgres.start(self.cluster)
        deadline = time.monotonic() + 20
        while not answers(self.site):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def answers(site: Site) -> bool:
    """Whether the database lets somebody in."""
    try:
        return bool(builders.read(site, "SELECT 1"))
    except psycopg2.OperationalError:
        return False


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """Both clusters of a site of their own, the one of our database on small disks."""
    folder, stage = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("stage")
    site = control.clusters_up(folder)
    cluster = postgres.Cluster(site, "warehouse")
    try:
        postgres.stop(cluster)
        sizes = {cluster.folder / part: used(cluster.folder / part) + spare for part, spare in SPARE_KIB.items()}
        with faults.small_disks(stage, sizes) as disks, pytest.MonkeyPatch.context() as patch:
            unprivileged = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
            patch.setattr(postgres, "_namespace", lambda: (*disks.prefix, *unprivileged))
            postgres.start(cluster)
            yield Small(site, disks)
            postgres.stop(cluster)
    finally:
        control.down(folder)


def used(folder: Path) -> int:
    """KiB that a folder's files take."""
    return sum(path.stat().st_blocks for path in folder.rglob("*")) // 2


@pytest.fixture
def crowded(small: Small) -> Iterator[World]:
    """An empty database, and a source with a partition that is far bigger than usual."""
    world = World(small.site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(small.site)
    many_views(world, VIEWS)
    yield world
    small.mend()
    world.close()


HOPS: dict[str, Callable[[Workspace], Batch]] = {
    "pull": lambda space: steps.pull(space, "visits", KEY, builders.run()),
    "validate": lambda space: steps.validate(space, Batch("visits", KEY, "test"), builders.run()),
    "publish": lambda space: steps.publish(space, Batch("visits", KEY, "test"), builders.run()),
}


@pytest.mark.parametrize("part", SPARE_KIB)
@pytest.mark.parametrize("event", HOPS)
def test_a_disk_that_is_full_in_the_middle_of_a_hop_is_named_and_the_hop_succeeds_once_there_is_room(
    small: Small, crowded: World, event: str, part: str
) -> None:
    site, space = small.site, builders.workspace(small.site)
    for name, hop in HOPS.items():
        if name == event:
            break
        hop(space)
    before = state(site)
    small.fill(part, leave=2_000_000 if event == "pull" else 200_000)
    with pytest.raises(WarehouseUnavailableError, match=f"(partition {KEY}|dataset visits): .*task retries") as told:
        HOPS[event](space)
    if part == "base":
        assert "has no room left on its disk: free some" in str(told.value) and "53100" in str(told.value)
    small.mend()
    assert state(site) == before
    HOPS[event](space)
    tries = [tried.outcome for tried in history.attempts(entries(site)) if tried.event == event]
    assert sorted(tries)[-1] == "passed" and len(tries) == 2
    # A database that could still write its log said how it ended; otherwise the intent stands alone.
    assert set(tries) - {"passed"} <= {"failed", history.INTERRUPTED}
    for name in list(HOPS)[list(HOPS).index(event) + 1 :]:
        HOPS[name](space)
    assert builders.read(site, "SELECT count(*), count(DISTINCT row_key) FROM vault.page_views") == [(VIEWS, VIEWS)]
    assert builders.read(site, "SELECT count(*) FROM vault.release_ledger") == [(VIEWS,)]
    assert builders.read(site, "SELECT count(*) FROM analytics.releases") == [(1,)]
    assert builders.read(site, "SELECT count(*) FROM landing.page_views") == [(0,)]


# -- the site's own files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnFiles:
    """A site whose keys and checkpoints are on a small disk."""

    site: Site
    disks: faults.SmallDisks
    folder: Path

    def files(self) -> dict[str, bytes]:
        """Every file there, but what fills the disk."""
        return self.disks.within(
            lambda: {p.name: p.read_bytes() for p in self.folder.rglob("*") if p.is_file() and p.name != "ballast"}
        )


@pytest.fixture
def own(site: Site, world: World, tmp_path: Path) -> Iterator[OwnFiles]:
    """Keys and signer as they are, on a disk of two MiB."""
    folder, stage = tmp_path / "disk", tmp_path / "stage"
    there = replace(site, data_dir=folder / "data")
    there.data_dir.mkdir(parents=True)
    stage.mkdir()
    for path in (site.key_store_path, site.keyring_path, site.signers_path):
        (there.data_dir / path.name).write_bytes(path.read_bytes())
        (there.data_dir / path.name).chmod(0o600)
    with faults.small_disks(stage, {folder: 2048}) as disks:
        yield OwnFiles(there, disks, folder)


def test_a_key_store_without_room_is_named_unchanged_and_takes_the_keys_of_the_next_try(
    own: OwnFiles, world: World
) -> None:
    space, before = builders.workspace(own.site), own.files()
    world.crowd(400, price_amount_minor=20_000)
    own.disks.fill(own.folder)
    rows = state(own.site)
    with pytest.raises(KeyStoreUnavailableError, match=r"the disk is full: free some.*SQLITE_FULL.*a task retries"):
        own.disks.within(lambda: steps.pull(space, "bookings", KEY, builders.run()))
    assert own.files() == before and state(own.site) == rows
    assert outcomes(own.site) == ["failed"]
    own.disks.free(own.folder)
    own.disks.within(lambda: through(space, "bookings", KEY))
    assert own.disks.within(lambda: sound(own.site.key_store_path)) == "ok"
    assert builders.read(own.site, "SELECT count(*) FROM vault.bookings") == [(400,)]


def sound(path: Path) -> str:
    """What SQLite says of a file."""
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])


def test_a_keyring_without_room_stays_as_it_was(own: OwnFiles) -> None:
    before, later = own.files(), builders.workspace(own.site, now=NOW + timedelta(days=30))
    own.disks.fill(own.folder)
    with pytest.raises(KeyStoreUnavailableError, match="the disk is full"):
        own.disks.within(lambda: steps.rotate_key(later, builders.run()))
    assert own.files() == before
    own.disks.free(own.folder)
    own.disks.within(lambda: steps.rotate_key(later, builders.run()))
    versions = own.disks.within(lambda: set(Keyring.load(own.site.keyring_path).versions(KEY_ENCRYPTION)))
    assert versions == {2}


def test_checkpoints_without_room_are_whole_or_not_there_and_come_with_the_next_try(own: OwnFiles) -> None:
    space = builders.workspace(own.site)
    first = own.disks.within(lambda: steps.checkpoint(space, builders.run()))
    before = own.files()
    own.disks.fill(own.folder)
    with pytest.raises(CheckpointsUnavailableError, match="cannot be published .No space left on device.; free some"):
        own.disks.within(lambda: steps.checkpoint(space, builders.run()))
    assert own.files() == before
    own.disks.free(own.folder)
    assert own.disks.within(lambda: steps.checkpoint(space, builders.run())).size > first.size
    assert {name: own.files()[name] for name in before} == before
