"""The broker of a site with CeleryExecutor: Debian's redis-server, on 127.0.0.1, with a password, in memory alone.

Nothing of it is kept: messages name tasks, and the scheduler sends again what was lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import psutil

from governance.embedded import processes
from governance.embedded.site import ADDRESS, Site, private_folder, write_private
from governance.errors import SiteError


def program() -> Path:
    """Path of redis-server. Raises SiteError when it is not installed."""
    found = shutil.which("redis-server")
    if not found:
        raise SiteError("CeleryExecutor needs redis-server, which is not installed (on Debian: package redis-server)")
    return Path(found)


def running(site: Site) -> psutil.Process | None:
    """The server, if it runs."""
    return processes.recall(_pid_file(site))


def start(site: Site, patience_seconds: float = 30) -> None:
    """Start it, unless it runs, and wait until it answers. Raises SiteError."""
    if running(site):
        return
    folder = private_folder(_folder(site))
    file = folder / "redis.conf"
    write_private(file, configuration(site))
    process = processes.start_detached(
        [str(program()), str(file)],
        environment={**os.environ, processes.MARKER: str(site.data_dir)},
        folder=folder,
        log=log_of(site),
    )
    processes.remember(_pid_file(site), process)
    deadline = time.monotonic() + patience_seconds
    while not answers(site):
        if not processes.is_alive(process) or time.monotonic() > deadline:
            raise SiteError(
                f"redis-server does not answer on {ADDRESS}:{site.redis_port}; the end of {log_of(site)}:\n"
                f"{processes.tail(log_of(site))}"
            )
        time.sleep(0.1)


def stop(site: Site, patience_seconds: float = 10) -> None:
    """End it, if it runs."""
    server = running(site)
    processes.end([server] if server else [], patience_seconds)
    _pid_file(site).unlink(missing_ok=True)


def answers(site: Site) -> bool:
    """Whether it lets a client with the site's password in."""
    import redis

    with (
        contextlib.suppress(redis.RedisError),
        redis.Redis(ADDRESS, site.redis_port, password=site.redis_password, socket_timeout=5) as client,
    ):
        return bool(client.ping())
    return False


def workers(site: Site, wait_seconds: float = 1) -> set[str]:
    """Names of Celery's workers that answer through the broker, so that a task would reach them; a second each time."""
    import kombu.pools
    import redis
    from celery import Celery
    from kombu.exceptions import OperationalError

    try:
        with Celery(broker=site.broker_url, set_as_current=False) as client:
            return {name.split("@")[0] for reply in client.control.ping(timeout=wait_seconds) for name in reply}
    except (OperationalError, redis.RedisError):
        return set()
    finally:
        # It keeps connections for the whole process, also to a server that has died since.
        kombu.pools.reset()  # type: ignore[no-untyped-call, unused-ignore]


def log_of(site: Site) -> Path:
    """The server's log."""
    return site.data_dir / "log" / "redis.log"


def configuration(site: Site) -> str:
    """What redis.conf says."""
    # In a file that its owner alone reads, because everybody reads the process list. The title stays as it is, because
    # a changed one would overwrite the environment, by which the process is known.
    return f"""# Written by governance at every start; do not edit.
bind {ADDRESS}
port {site.redis_port}
requirepass {site.redis_password}
save ""
appendonly no
dir {_folder(site)}
daemonize no
set-proc-title no
"""


def _folder(site: Site) -> Path:
    return site.data_dir / "redis"


def _pid_file(site: Site) -> Path:
    return site.data_dir / "run" / "redis.json"
