"""How the lines of `make bench` are measured: each in a fresh process, so that none inherits the memory of another."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

REPETITIONS = 5


@dataclass(frozen=True)
class Measured:
    """One line of work that is done once."""

    name: str
    rows: int
    wall_seconds: float
    cpu_seconds: float
    peak_rss_mb: float


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


def measured(name: str, work: Callable[..., int], *arguments: Any) -> Measured:
    """Run the work in a fresh process; it returns the number of rows that it handled."""
    line = Measured(name, *_in_fresh_process(_once, work, arguments))
    rate = f"{line.rows / line.wall_seconds:>10,.0f}" if line.rows else f"{'':>10}"
    say(
        f"{name:<44}{line.rows or '':>9}{line.wall_seconds:>9.2f}{line.cpu_seconds:>9.2f}{rate}{line.peak_rss_mb:>9.0f}"
    )
    return line


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
    found = [_in_fresh_process(_many, make, arguments, repetitions) for _ in range(processes)]
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


def _in_fresh_process(target: Callable[..., None], *arguments: Any) -> Any:
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


def _once(sender: Any, work: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work(*arguments)
    sender.send((rows, time.perf_counter() - wall, time.process_time() - cpu, _peak_rss_mb()))


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
