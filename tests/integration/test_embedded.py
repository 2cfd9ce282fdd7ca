"""The embedded clusters: they start, survive being killed, stop without a trace, and open only to a password."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest

from governance.embedded import airflow_config, control, postgres, processes
from governance.embedded import site as sites
from governance.embedded.postgres import Cluster
from governance.embedded.site import LOGINS, Site
from governance.errors import SiteError
from governance.recording import PACKAGE

pytestmark = pytest.mark.pg


def ask(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as c:
        c.execute(statement)
        return c.fetchall()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A site that the test may kill."""
    try:
        yield control.clusters_up(tmp_path / "data")
    finally:
        control.down(tmp_path / "data")


@pytest.mark.parametrize("role", LOGINS)
def test_every_role_can_log_in_where_it_belongs(site: Site, role: str) -> None:
    login = LOGINS[role]
    assert ask(site.dsn(role), "SELECT current_user, current_database()") == [(login.user, login.database)]


@pytest.mark.clause("J1")
@pytest.mark.parametrize("role", LOGINS)
def test_a_wrong_password_is_refused(site: Site, role: str) -> None:
    wrong = dataclasses.replace(site, passwords={**site.passwords, LOGINS[role].taken_by or role: "0" * 48})
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong.dsn(role))


@pytest.mark.clause("J1")
def test_no_password_is_refused(site: Site) -> None:
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(
            host="127.0.0.1", port=site.warehouse_port, user="postgres", dbname="postgres", passfile="/dev/null"
        )


@pytest.mark.clause("J1")
def test_each_role_connects_to_its_own_database_and_to_no_other(site: Site) -> None:
    databases = {
        "source": ("postgres", "template1", "wellbe"),
        "warehouse": ("airflow", "governance", "postgres", "template1"),
    }
    allowed = set()
    for role, login in LOGINS.items():
        for database in databases[login.cluster]:
            try:
                psycopg2.connect(site.dsn(role), dbname=database).close()
            except psycopg2.OperationalError as refusal:
                assert "permission denied for database" in str(refusal)
            else:
                allowed.add((role, database))
    superusers = {("source_postgres", d) for d in databases["source"]} | {
        ("postgres", d) for d in databases["warehouse"]
    }
    assert allowed == superusers | {(role, login.database) for role, login in LOGINS.items()}


@pytest.mark.clause("J1")
def test_only_the_superusers_have_powers_over_the_cluster(site: Site) -> None:
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    for superuser in ("source_postgres", "postgres"):
        assert ask(site.dsn(superuser), f"SELECT rolname FROM pg_roles WHERE {powers}") == [("postgres",)]


@pytest.mark.clause("J1")
@pytest.mark.parametrize("role", ["puller", "loader", "validator", "publisher", "sharer", "analyst", "auditor"])
def test_who_does_not_own_a_database_makes_nothing_in_it(site: Site, role: str) -> None:
    for statement in ("CREATE TABLE public.t (x int)", "CREATE SCHEMA s", "CREATE TEMPORARY TABLE t (x int)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(site.dsn(role), statement)


@pytest.mark.clause("J1")
def test_nothing_listens_beyond_this_machine(site: Site) -> None:
    listening = [
        connection.laddr
        for process in processes.of_site(site.data_dir)
        for connection in process.net_connections(kind="all")
        if connection.status == psutil.CONN_LISTEN or connection.family == socket.AF_UNIX
    ]
    assert {address for address in listening if address} == {
        ("127.0.0.1", site.source_port),
        ("127.0.0.1", site.warehouse_port),
    }


@pytest.mark.clause("J1")
def test_no_folder_or_file_of_the_site_opens_to_others(site: Site) -> None:
    open_to_others = [
        path.relative_to(site.data_dir)
        for path in [site.data_dir, *site.data_dir.rglob("*")]
        if path.is_dir() and path.stat().st_mode & 0o077
    ]
    assert not open_to_others
    assert stat.S_IMODE((site.data_dir / "site.json").stat().st_mode) == 0o600
    assert {stat.S_IMODE(log.stat().st_mode) for log in (site.data_dir / "log").iterdir()} == {0o600}


@pytest.mark.clause("J1")
def test_a_value_in_a_failing_statement_does_not_reach_the_servers_log(own: Site) -> None:
    canary = "canary-4111-7b1d"
    dsn = own.dsn("governance_owner")
    ask(dsn, "CREATE TABLE public.t (word text UNIQUE); SELECT 1")
    ask(dsn, f"INSERT INTO public.t VALUES ('{canary}') RETURNING 1")
    for statement in (
        f"SELECT '{canary}'::int",  # the error's own text quotes it
        f"INSERT INTO public.t VALUES ('{canary}')",  # its detail does
        f"SELECT '{canary}' FROM nowhere",  # the statement does
        f"DO $$ BEGIN RAISE EXCEPTION '{canary}'; END $$",
        f"DO $$ BEGIN RAISE WARNING '{canary}'; END $$; SELECT 1/0",
    ):
        with pytest.raises(psycopg2.Error):
            ask(dsn, statement)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as c, pytest.raises(psycopg2.Error):
        c.execute("PREPARE p (text) AS SELECT $1::int")
        c.execute("EXECUTE p (%s)", (canary,))
    logs = {path.name: path.read_text() for path in (own.data_dir / "log").iterdir()}
    assert "ready to accept connections" in logs["warehouse.log"]
    assert not [name for name, text in logs.items() if canary in text]


def test_nobody_but_the_superuser_can_turn_statement_logging_on(site: Site) -> None:
    for setting in ("log_statement = 'all'", "log_min_error_statement = 'error'", "log_min_messages = 'debug5'"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(site.dsn("governance_owner"), f"SET {setting}")


def test_bringing_up_what_is_up_changes_nothing(own: Site) -> None:
    before = {process.pid for process in processes.of_site(own.data_dir)}
    assert control.clusters_up(own.data_dir) == own
    servers = {postgres.postmaster(Cluster(own, name)) for name in control.CLUSTERS}
    assert {server.pid for server in servers if server} <= before
    assert len(servers) == 2


def test_a_killed_server_comes_back_with_what_was_committed(own: Site) -> None:
    ask(own.dsn("governance_owner"), "CREATE TABLE public.kept AS SELECT 42 AS x; SELECT 1")
    server = postgres.postmaster(Cluster(own, "warehouse"))
    assert server
    server.send_signal(signal.SIGKILL)
    processes.wait_gone([server], 5)
    assert postgres.postmaster(Cluster(own, "warehouse")) is None
    control.clusters_up(own.data_dir)
    assert ask(own.dsn("governance_owner"), "SELECT x FROM public.kept") == [(42,)]


def test_a_stale_pid_file_that_names_a_stranger_neither_stops_a_start_nor_harms_the_stranger(own: Site) -> None:
    control.down(own.data_dir)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        cluster = Cluster(own, "source")
        (cluster.folder / "postmaster.pid").write_text(
            f"{stranger.pid}\n{cluster.folder}\n0\n{cluster.port}\n\n127.0.0.1\n"
        )
        assert postgres.postmaster(cluster) is None
        postgres.stop(cluster)
        control.clusters_up(own.data_dir)
        assert ask(own.dsn("puller"), "SELECT 1") == [(1,)]
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


def test_down_leaves_no_process(own: Site) -> None:
    assert processes.of_site(own.data_dir)
    control.down(own.data_dir)
    assert not processes.of_site(own.data_dir)
    assert sites.is_free(own.source_port)
    assert sites.is_free(own.warehouse_port)
    control.down(own.data_dir)  # again is no error


def test_down_leaves_no_process_when_the_folder_was_deleted_under_them(own: Site) -> None:
    subprocess.run(["rm", "-rf", str(own.data_dir)], check=True)
    control.down(own.data_dir)
    assert not processes.of_site(own.data_dir)


def test_down_ends_an_orphan_that_hides_its_environment(own: Site) -> None:
    """As a worker of Airflow does whose scheduler was killed: it has overwritten its title, and its parent is gone."""
    home = sites.private_folder(airflow_config.home(own))
    script = "import setproctitle, time; setproctitle.setproctitle('w' * 9000); print(flush=True); time.sleep(600)"
    orphan = processes.start_detached(
        [sys.executable, "-c", script],
        environment=airflow_config.environment(own),
        folder=home,
        log=own.data_dir / "log" / "orphan.log",
    )
    while not (own.data_dir / "log" / "orphan.log").read_text():
        assert processes.is_alive(orphan)
    assert processes.MARKER not in orphan.environ()
    control.down(own.data_dir)
    assert not processes.is_alive(orphan)


def test_down_ends_a_child_that_went_elsewhere(own: Site, tmp_path: Path) -> None:
    """As a program does that a task has called in a folder of its own."""
    child = processes.start_detached(
        ["sleep", "600"],
        environment=airflow_config.environment(own),
        folder=tmp_path,
        log=own.data_dir / "log" / "c.log",
    )
    control.down(own.data_dir)
    assert not processes.is_alive(child)


def test_down_leaves_strangers_alone(own: Site) -> None:
    """A shell in the site's folder is a person's."""
    home = sites.private_folder(airflow_config.home(own))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=home) as stranger:
        control.down(own.data_dir)
        assert stranger.poll() is None


def test_a_port_that_somebody_took_meanwhile_is_given_up(own: Site) -> None:
    control.down(own.data_dir)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", own.source_port))
        squatter.listen()
        moved = control.clusters_up(own.data_dir)
    assert moved.source_port != own.source_port
    assert moved.warehouse_port == own.warehouse_port
    assert sites.load(own.data_dir) == moved
    assert ask(moved.dsn("puller"), "SELECT 1") == [(1,)]


def test_an_interrupted_creation_is_begun_anew(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    half = sites.private_folder(tmp_path / "source.new")
    (half / "PG_VERSION").write_text("18\n")
    cluster = Cluster(site, "source")
    postgres.create(cluster)
    assert (cluster.folder / "global").is_dir()
    assert not half.exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    cluster = Cluster(site, "source")
    postgres.create(cluster)
    (cluster.folder / "global" / "pg_control").unlink()
    with pytest.raises(SiteError, match="could not find the database system"):
        postgres.start(cluster)
    assert not processes.of_site(tmp_path)


def test_the_bundled_psql_speaks_as_the_role_and_passes_arguments_on(site: Site) -> None:
    answer = subprocess.run(
        [str(postgres.program("psql")), "-XAtc", "SELECT current_user"],
        env={**os.environ, **site.libpq_environment("analyst")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "analyst\n"


def test_airflow_is_started_again_when_the_code_of_its_tasks_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks are forked from processes that have imported it: `git pull` alone changes nothing that runs."""
    site = sites.load_or_create(tmp_path)
    assert airflow_config.write(site)
    assert not airflow_config.write(site)
    monkeypatch.setattr(airflow_config, "code_digest", lambda: "another")
    assert airflow_config.write(site)
    assert not airflow_config.write(site)


@pytest.mark.clause("R1")
def test_an_entry_names_the_code_that_runs_and_not_what_the_files_have_become(tmp_path: Path) -> None:
    package = tmp_path / "plugins" / "governance"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import governance.recording as r\nbefore = r.code_digest()\n"
        "(r.PACKAGE / 'later.py').write_text('x = 1')\n"
        "assert r.code_digest() == before != r._digest_of_files()\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
