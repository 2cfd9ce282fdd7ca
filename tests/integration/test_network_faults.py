"""Networks and servers that fail without a goodbye: slow, silent, reset, full. The worker is free again, a retry mends.

A stop that is announced (a server that is down, a session that is ended) is in test_faults.py.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

import builders
import faults
from aftermath import entries, outcomes, sessions, state
from builders import DAY, World
from faults import Point, Put, Stop, again, before
from governance import database, history, patience, sources, steps, validation
from governance.embedded.site import Site
from governance.errors import SourceUnavailableError, WarehouseUnavailableError
from governance.publications import Publication
from governance.run_log import Batch
from governance.steps import Workspace
from governance.warehouse import Warehouse

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY = DAY.isoformat()
VIEWS = 8000
IMPATIENT_SECONDS = 2


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds where the product waits for minutes."""
    monkeypatch.setattr(sources, "QUIET_SECONDS", IMPATIENT_SECONDS)
    monkeypatch.setattr(sources, "PARTING_SECONDS", 0.3)
    monkeypatch.setattr(patience, "ANSWER_SECONDS", IMPATIENT_SECONDS)
    monkeypatch.setitem(patience.LINK, "connect_timeout", 2)  # libpq knows no less


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def threads() -> list[str]:
    """Threads of ours that wait for a server, or watch one."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("governance-")]


def nothing_is_left(site: Site) -> None:
    """No thread and no session, once the other side is heard of again."""
    until(lambda: not threads())
    until(lambda: not [pid for role in ("puller", "loader", "recorder") for pid in sessions(site, role)])


# -- the source --------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole(site: Site, world: World, space: Workspace) -> tuple[int, int]:
    """Bytes that the source sends until it has let somebody in, and for a whole pull of many views."""
    import adbc_driver_postgresql.dbapi as adbc

    world.views(VIEWS)
    with faults.proxy(site.source_port) as login, closing(psycopg2.connect(login.dsn(site.dsn("puller")))):
        pass
    with faults.proxy(site.source_port) as opened, closing(adbc.connect(opened.dsn(site.dsn("puller")))):
        pass
    with faults.proxy(site.source_port) as pulled:
        steps.pull(replace(space, source_uri=lambda: pulled.dsn(site.dsn("puller"))), "visits", KEY, builders.run())
    assert 0 < login.passed < opened.passed < pulled.passed - 1_000_000
    return opened.passed, pulled.passed


def test_a_source_that_stalls_or_drips_anywhere_is_given_up_and_the_next_try_succeeds(
    site: Site, whole: tuple[int, int], space: Workspace
) -> None:
    connected, total = whole
    reached, silent = "the source cannot be reached", f"no rows came from the source for {IMPATIENT_SECONDS} seconds"
    points = [
        ("stall", 0, reached),  # accepts, and never answers
        ("stall", connected - 2000, reached),  # while the driver looks at types
        ("stall", total // 2, silent),
        ("drip", 0, reached),
        ("drip", total // 2, silent),
    ]
    before = state(site)
    for then, budget, said in points:
        with faults.proxy(site.source_port, budget, then=then, pause=0.2) as slow:
            broken = replace(space, source_uri=lambda slow=slow: slow.dsn(site.dsn("puller")))
            started = time.monotonic()
            with pytest.raises(SourceUnavailableError, match=f"dataset visits, partition {KEY}: {said}.*retries"):
                steps.pull(broken, "visits", KEY, builders.run())
            assert time.monotonic() - started < 10, (then, budget)
        nothing_is_left(site)
        error = entries(site, "pull", "outcome")[-1]["error"]
        assert error["type"] == "SourceUnavailableError" and said in error["message"]
    assert state(site) == before
    assert outcomes(site) == ["passed", *["failed"] * len(points)]
    assert steps.pull(space, "visits", KEY, builders.run()).counts["page_views_pulled"] == VIEWS
    assert builders.read(site, "SELECT count(*), count(DISTINCT row_key) FROM landing.page_views") == [(VIEWS, VIEWS)]


@pytest.mark.parametrize("share", (0, 0.5), ids=("before_login", "in_the_copy"))
def test_a_signal_ends_the_wait_for_a_silent_source(
    site: Site, whole: tuple[int, int], space: Workspace, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    class TimeLimit(BaseException):
        """As Airflow's, which is raised by the handler of a signal."""

    def ring(*_: object) -> None:
        raise TimeLimit

    monkeypatch.setattr(sources, "QUIET_SECONDS", 60)
    monkeypatch.setitem(patience.LINK, "connect_timeout", 60)
    monkeypatch.setattr(patience, "ANSWER_SECONDS", 60)
    before, former = state(site), signal.signal(signal.SIGALRM, ring)
    try:
        with faults.proxy(site.source_port, int(whole[1] * share), then="stall") as slow:
            broken = replace(space, source_uri=lambda: slow.dsn(site.dsn("puller")))
            signal.setitimer(signal.ITIMER_REAL, 2)
            started = time.monotonic()
            with pytest.raises(TimeLimit):
                steps.pull(broken, "visits", KEY, builders.run())
            assert time.monotonic() - started < 15
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    nothing_is_left(site)
    assert state(site) == before
    assert sorted(tried.outcome for tried in history.attempts(entries(site))) == [history.INTERRUPTED, "passed"]
    steps.pull(space, "visits", KEY, builders.run())


def test_a_source_that_waits_for_a_lock_is_told_to_stop(site: Site, world: World, space: Workspace) -> None:
    world.view()
    with closing(psycopg2.connect(site.dsn("wellbe_owner"))) as owner:
        owner.cursor().execute("LOCK TABLE wellbe.page_views IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceUnavailableError, match="no rows came .* waits for .a lock"):
            steps.pull(space, "visits", KEY, builders.run())
        until(lambda: not sessions(site, "puller"))  # though the lock is still held
    nothing_is_left(site)
    steps.pull(space, "visits", KEY, builders.run())
    assert outcomes(site) == ["failed", "passed"]


def test_a_source_that_is_reset_anywhere_is_named_and_the_next_try_succeeds(
    site: Site, whole: tuple[int, int], space: Workspace
) -> None:
    connected, total = whole
    before, points = state(site), [0, 100, connected, total // 3, total - 5000, total - 10]
    for budget in points:
        with faults.proxy(site.source_port, budget, then="reset") as cut:
            broken = replace(space, source_uri=lambda cut=cut: cut.dsn(site.dsn("puller")))
            with pytest.raises(SourceUnavailableError, match="cannot be reached or cut the connection"):
                steps.pull(broken, "visits", KEY, builders.run())
    nothing_is_left(site)
    assert state(site) == before
    assert outcomes(site) == ["passed", *["failed"] * len(points)]
    assert steps.pull(space, "visits", KEY, builders.run()).counts["page_views_pulled"] == VIEWS


# -- our database ------------------------------------------------------------------------------------------------------


def in_the_suite(fail: Stop, put: Put) -> None:
    """Fail when Great Expectations asks its first question."""
    from great_expectations.execution_engine import SqlAlchemyExecutionEngine

    before(SqlAlchemyExecutionEngine, "execute_query")(fail, put)


POINTS: dict[tuple[str, str], Point] = {
    # The entry of the intent is the first to be appended, that of the outcome the second.
    ("pull", "before the copy"): before(Warehouse, "_copy"),
    ("pull", "in the middle of the copy"): before(database.BinaryCopy, "read", 20),
    ("pull", "before the outcome"): before(Warehouse, "_append", 2),
    ("validate", "in the suite"): in_the_suite,
    ("validate", "before the outcome"): before(Warehouse, "_append", 3),  # the second is that of a read
    ("publish", "reading accepted rows"): before(Warehouse, "undecided"),
    ("publish", "deciding views"): before(Publication, "decide_visits"),
    ("publish", "in the middle of writing"): before(Publication, "_copy"),
    ("publish", "before the outcome"): before(Warehouse, "_append", 3),
}


STALLS = ("in the middle of the copy", "in the suite", "reading accepted rows", "deciding views")
"""One for each way of waiting for our database."""


@pytest.mark.parametrize(
    ("event", "where", "then"),
    [(*point, then) for point in POINTS for then in ("reset", "stall") if then == "reset" or point[1] in STALLS],
    ids=lambda part: part.replace(" ", "_"),
)
def test_our_database_reset_or_silent_in_the_middle_of_a_hop_is_named_and_the_next_try_succeeds(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch, event: str, where: str, then: str
) -> None:
    # Bookings are read to be decided, views are decided where they are.
    dataset = "bookings" if where == "reading accepted rows" else "visits"
    world.views(2000)
    world.crowd()
    batch = Batch(dataset, KEY, "test")
    hops: dict[str, Callable[[Workspace], Batch]] = {
        "pull": lambda there: steps.pull(there, dataset, KEY, builders.run()),
        "validate": lambda there: steps.validate(there, batch, builders.run()),
        "publish": lambda there: steps.publish(there, batch, builders.run()),
    }
    for name, hop in hops.items():
        if name == event:
            break
        with monkeypatch.context() as patient:
            patient.setattr(patience, "ANSWER_SECONDS", 600)
            hop(space)
    unchanged, started = state(site), time.monotonic()
    with faults.proxy(site.warehouse_port, then=then) as relay, monkeypatch.context() as patch:
        if then == "reset":
            patch.setattr(patience, "ANSWER_SECONDS", 600)
        POINTS[event, where](relay.fail, patch.setattr)
        with pytest.raises(WarehouseUnavailableError, match="the task retries"):
            hops[event](replace(space, warehouse_dsn=lambda role: relay.dsn(site.dsn(role))))
        assert time.monotonic() - started < 45
    until(lambda: not threads())
    assert state(site) == unchanged
    # A database that takes nothing cannot be told how it ended either; then the intent says that it was interrupted.
    how = history.INTERRUPTED if then == "stall" else "failed"
    monkeypatch.undo()
    again(lambda: hops[event](space))
    tries = [tried.outcome for tried in history.attempts(entries(site)) if tried.event == event]
    # Tries that found the partition still held by the lost session have failed too.
    assert sorted(set(tries)) == sorted({how, "passed"} | ({"failed"} & set(tries))) and tries.count("passed") == 1


def test_what_a_statement_is_given_is_one_statements_time_and_not_a_transactions(site: Site) -> None:
    with closing(patience.connect(site.dsn("coordinator"))) as connection, connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute("SELECT pg_sleep(0.8)")
        with pytest.raises(psycopg2.OperationalError, match=patience.SILENT):
            cursor.execute("SELECT pg_sleep(20)")


def test_a_copy_may_take_as_long_as_it_moves_and_waits_for_its_source_in_peace(site: Site) -> None:
    class Slow:
        """Rows for longer than a statement may take, one of them late."""

        def __init__(self) -> None:
            self.parts = iter([0.1, IMPATIENT_SECONDS + 1, *[0.4] * 4])

        def read(self, size: int = -1) -> bytes:
            pause = next(self.parts, None)
            if pause is None:
                return b""
            time.sleep(pause)
            return b"1\n"

    with closing(patience.connect(site.dsn("postgres"))) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE numbers (n integer)")
        cursor.copy_expert("COPY numbers FROM STDIN", Slow())
        cursor.execute("SELECT count(*) FROM numbers")
        assert cursor.fetchone() == (6,)


def test_a_machine_that_is_gone_is_noticed_within_a_minute_on_both_sides(site: Site) -> None:
    wanted = {
        "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3",
        "tcp_user_timeout": "60000", "client_connection_check_interval": "10000",
    }  # fmt: skip
    query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
    for role in ("postgres", "source_postgres"):
        assert dict(builders.read(site, query, list(wanted), role=role)) == wanted, role
    options = {
        socket.TCP_KEEPIDLE: 30,
        socket.TCP_KEEPINTVL: 10,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: 60_000,
    }
    with closing(patience.connect(site.dsn("coordinator"))) as ours:
        assert socket_options(ours, options) == options
    with closing(patience.connect(f"{site.dsn('coordinator')}?keepalives_idle=7")) as theirs:
        assert socket_options(theirs, options) == options | {socket.TCP_KEEPIDLE: 7}


def socket_options(connection: Any, names: dict[int, int]) -> dict[int, int]:
    """What the kernel was told of a connection."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        return {name: same.getsockopt(socket.IPPROTO_TCP, name) for name in names}


# -- no more connections -----------------------------------------------------------------------------------------------


@contextmanager
def all_taken(site: Site, admin: str) -> Iterator[None]:
    """A server all of whose connections are taken."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(closing(psycopg2.connect(site.dsn(admin))))
            except psycopg2.OperationalError:
                break
        yield


@contextmanager
def limited(site: Site, admin: str, role: str) -> Iterator[None]:
    """A role that may not connect any more."""
    builders.read(site, f"ALTER ROLE {role} CONNECTION LIMIT 0", role=admin)
    try:
        yield
    finally:
        builders.read(site, f"ALTER ROLE {role} CONNECTION LIMIT -1", role=admin)


FULL = {
    "the source's server": (lambda site: all_taken(site, "source_postgres"), SourceUnavailableError),
    "the role at the source": (lambda site: limited(site, "source_postgres", "puller"), SourceUnavailableError),
    "our server": (lambda site: all_taken(site, "postgres"), WarehouseUnavailableError),
    "our login": (lambda site: limited(site, "postgres", "pipeline"), WarehouseUnavailableError),
    "the log's login": (lambda site: limited(site, "postgres", "recorder"), WarehouseUnavailableError),
}


@pytest.mark.parametrize("whose", FULL, ids=lambda whose: whose.replace(" ", "_"))
def test_a_server_that_takes_no_more_connections_says_so_and_the_next_try_succeeds(
    site: Site, world: World, space: Workspace, whose: str
) -> None:
    world.view()
    before = state(site)
    full, error = FULL[whose]
    with full(site), pytest.raises(error, match=r"takes no more connections: .*the task retries") as caught:
        steps.pull(space, "visits", KEY, builders.run())
    assert not [password for password in site.passwords.values() if password in str(caught.value)]
    assert state(site) == before
    is_told = whose not in ("our server", "the log's login")
    assert outcomes(site) == ["failed"] * is_told
    if is_told:
        assert "takes no more connections" in entries(site)[-1]["error"]["message"]
    steps.pull(space, "visits", KEY, builders.run())
    assert builders.read(site, "SELECT count(*) FROM landing.page_views") == [(1,)]


def test_validation_that_gets_no_connection_of_its_own_is_transient(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    batch = steps.pull(space, "visits", KEY, builders.run())
    before = state(site)
    original = validation.validate

    def without_connections(*args: Any, **kwargs: Any) -> Any:
        with limited(site, "postgres", "pipeline"):
            return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(validation, "validate", without_connections)
        with pytest.raises(WarehouseUnavailableError, match="the task retries"):
            steps.validate(space, batch, builders.run())
    assert state(site) == before
    assert steps.validate(space, batch, builders.run()).counts["accepted"] == 1
