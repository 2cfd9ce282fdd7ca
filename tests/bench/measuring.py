"""How the lines of `make bench` are measured: each in a fresh process, so that none inherits the memory of another."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

REPETITIONS = 5
TICK = 0.01
"""Seconds: nothing less is measured of CPU."""


LIBRARIES = (
    "pandas", "pyarrow.compute", "great_expectations", "psycopg2", "adbc_driver_postgresql.dbapi", "sqlalchemy",
    "governance.steps", "governance.facts", "governance.pulling", "governance.anonymisation.releases",
)  # fmt: skip
"""What is imported before the clock starts."""


@dataclass(frozen=True)
class Measured:
    """Work that was done several times, each time in a fresh process after its imports; seconds of each time.

    `client`: CPU of the process and of what it started; `server`: of the clusters' processes in the same time.
    """

    name: str
    rows: int
    wall: tuple[float, ...]
    client: tuple[float, ...]
    server: tuple[float, ...]
    peak_rss_mb: float

    @property
    def per_client_second(self) -> float:
        """Rows per CPU second of the client, the median time."""
        return self.rows / (median(self.client) or TICK)

    @property
    def per_cpu_second(self) -> float:
        """Rows per CPU second of client and server together, the median time."""
        return self.rows / (median(map(sum, zip(self.client, self.server, strict=True))) or TICK)

    def __add__(self, other: Measured) -> Measured:
        """What follows the work on the same rows, as if it were one."""
        return Measured(
            "",
            self.rows,
            *(
                tuple(map(sum, zip(mine, its, strict=True)))
                for mine, its in ((self.wall, other.wall), (self.client, other.client), (self.server, other.server))
            ),
            max(self.peak_rss_mb, other.peak_rss_mb),
        )


@dataclass(frozen=True)
class Job:
    """Work whose input is made: `run` is repeated, and handles so many values each time."""

    values: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Repeated:
    """One line of work that is done several times: CPU and wall seconds of each, and the process's peak memory."""

    name: str
    values: int
    cpu_seconds: tuple[float, ...]
    wall_seconds: tuple[float, ...]
    peak_rss_mb: float

    @property
    def per_cpu_second(self) -> float:
        """Values per CPU second, the median repetition."""
        return self.values / median(self.cpu_seconds)


Work = tuple[str, Callable[..., int], tuple[Any, ...]]
"""A line's name, the work, and its arguments; it returns the number of rows that it handled."""


def measured(
    *chain: Work,
    clusters: Path,
    times: int = 1,
    before: Callable[[], object] | None = None,
    libraries: tuple[str, ...] = LIBRARIES,
) -> list[Measured]:
    """Do pieces of work one after the other, the whole chain so many times, each piece in a fresh process.

    `before`: done before each time, and not measured. `libraries`: imported before the clock starts.
    """
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name, *_ in chain}
    for _ in range(times):
        if before:
            before()
        for name, work, arguments in chain:
            found[name].append(in_fresh_process(_once, work, arguments, clusters, libraries))
    lines = []
    for name, each in found.items():
        rows, wall, client, server, peak = zip(*each, strict=True)
        lines.append(shown(Measured(name, rows[0], wall, client, server, max(peak))))
    return lines


def say_columns() -> None:
    """The heads of the columns that `measured` prints."""
    say(
        f"{'':<44}{'ROWS':>11}{'TIMES':>6}{'WALL S':>8}{'CLIENT S':>9}{'SERVER S':>9}{'ROWS/S':>9}{'PER CLIENT S':>13}"
        f"{'PER CPU S':>10}{'RSS MB':>7}"
    )


def shown(line: Measured, name: str = "") -> Measured:
    """Print a line: medians, and rows per second of wall time, of the client's CPU, of all CPU."""
    wall = median(line.wall)
    say(
        f"{name or line.name:<44}{line.rows:>11,}{len(line.wall):>6}{wall:>8.2f}{median(line.client):>9.2f}"
        f"{median(line.server):>9.2f}{line.rows / wall:>9,.0f}{line.per_client_second:>13,.0f}"
        f"{line.per_cpu_second:>10,.0f}{line.peak_rss_mb:>7.0f}"
    )
    return line


def server_seconds(clusters: Path) -> float:
    """CPU seconds that the clusters of a site have used: their servers, and all that these ever started."""
    ticks = 0
    for file in clusters.rglob("postmaster.pid"):
        ticks += tree_ticks(int(file.read_text().split()[0]))
    return ticks / os.sysconf("SC_CLK_TCK")


def tree_ticks(pid: int) -> int:
    """CPU ticks of a process, of its children that ended, and of the tree of those that live."""
    fields = _stat(pid)
    if not fields:
        return 0
    children = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    own = sum(map(int, fields[11:15]))  # utime, stime, and those of children that were waited for
    return own + sum(tree_ticks(child) for child in children if (stat := _stat(child)) and int(stat[1]) == pid)


def _stat(pid: int) -> list[str]:
    """The fields of a process's stat from its state on; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def say_columns_of_repeated() -> None:
    """The heads of the columns that `repeated` prints."""
    say(f"{'':<52}{'VALUES':>11}{'PER CPU S':>11}{'MIN - MAX':>25}{'TIMES':>7}{'WALL S':>9}{'BEFORE':>8}{'RSS MB':>8}")


def repeated(
    name: str, make: Callable[..., Job], *arguments: Any, repetitions: int = REPETITIONS, processes: int = 1
) -> Repeated:
    """Make a job in a fresh process and repeat it there; with `processes`, in so many, one after the other.

    Printed: values of one repetition; values per CPU second, median and spread; the number of repetitions; wall seconds
    of all of them; CPU seconds before the first, for imports and for making the input; the most memory held.
    """
    found = [in_fresh_process(_many, make, arguments, repetitions) for _ in range(processes)]
    cpu = tuple(seconds for _, _, times, _ in found for seconds, _ in times)
    wall = tuple(seconds for _, _, times, _ in found for _, seconds in times)
    before, peak = median(seconds for _, seconds, _, _ in found), max(peak for *_, peak in found)
    line = Repeated(name, found[0][0], cpu, wall, peak)
    spread = f"{line.values / max(cpu):,.0f} - {line.values / min(cpu):,.0f}" if len(cpu) > 1 else ""
    say(
        f"{name:<52}{line.values:>11,}{line.per_cpu_second:>11,.0f}{spread:>25}{len(cpu):>7}{sum(wall):>9.2f}"
        f"{before:>8.2f}{peak:>8.0f}"
    )
    return line


def say(line: str) -> None:
    """Print, at once."""
    print(line, flush=True)  # noqa: T201


def in_fresh_process(target: Callable[..., None], *arguments: Any) -> Any:
    """What the target sends. Raises EOFError when it dies before; its own words are on standard error then."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sender, *arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _once(
    sender: Any, work: Callable[..., int], arguments: tuple[Any, ...], clusters: Path, libraries: tuple[str, ...]
) -> None:
    for name in libraries:
        importlib.import_module(name)
    server, wall, client = server_seconds(clusters), time.perf_counter(), _client_seconds()
    rows = work(*arguments)
    client, wall = _client_seconds() - client, time.perf_counter() - wall
    time.sleep(0.2)  # a session that has just ended is counted when its server has noticed
    sender.send((rows, wall, client, server_seconds(clusters) - server, _peak_rss_mb()))


def _client_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _many(sender: Any, make: Callable[..., Job], arguments: tuple[Any, ...], repetitions: int) -> None:
    job, times = make(*arguments), []
    before = time.process_time()  # since the process began
    for _ in range(repetitions):
        wall, cpu = time.perf_counter(), time.process_time()
        result = job.run()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
        del result
    sender.send((job.values, before, times, _peak_rss_mb()))


def _peak_rss_mb() -> float:
    """Of this process alone: `getrusage` would say that of the process which started it, where that is more."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
