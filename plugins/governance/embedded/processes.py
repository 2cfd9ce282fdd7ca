"""Which processes belong to a site, how much memory they use, and how they are started and ended.

A process is known by facts that survive the death of its parent: the variable GOVERNANCE_SITE in its environment, or,
because a process that sets its own title overwrites what the kernel shows of its environment, the folder that it runs
in.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from governance.embedded.site import private_folder, write_private

MARKER = "GOVERNANCE_SITE"
"""Environment variable that names the data folder of the site that a process belongs to."""

# A Popen that is forgotten while its process runs warns; these run on purpose when this process has ended.
_STARTED: list[subprocess.Popen[bytes]] = []

_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


@dataclass(frozen=True)
class Memory:
    """Bytes in use.

    `pss_bytes` divides shared pages among those who share them, so it may be summed; `rss_bytes` not.
    """

    rss_bytes: int
    pss_bytes: int


def of_site(data_dir: Path) -> list[psutil.Process]:
    """Every living process of the site, clusters included; never this one or those that it was started by."""
    own_line = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own_line and _belongs(process, data_dir)]


def runs_in(folder: Path, program: str) -> list[psutil.Process]:
    """Living processes whose working directory is `folder` and whose executable's name begins with `program`."""
    return [process for process in psutil.process_iter() if _is_in(process, folder, program)]


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs. A zombie does not: it only waits for a parent that may never ask."""
    for child in _STARTED:
        child.poll()  # so that one of our own that has ended does not stay a zombie
    with contextlib.suppress(*_GONE):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def memory(processes: Iterable[psutil.Process]) -> Memory:
    """Sum over processes; one that ends meanwhile, or that may not be looked into, counts as nothing."""
    rss = pss = 0
    for process in processes:
        with contextlib.suppress(*_GONE):
            info = process.memory_full_info()
            rss, pss = rss + info.rss, pss + info.pss
    return Memory(rss, pss)


def start_detached(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> psutil.Process:
    """Start a command as the leader of a session of its own that outlives the terminal. Its output goes to `log`."""
    private_folder(log.parent)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)
    _STARTED.append(child)
    return psutil.Process(child.pid)


def remember(pid_file: Path, process: psutil.Process) -> None:
    """Write down a process so that `recall` can tell it from a later one that was given the same number."""
    private_folder(pid_file.parent)
    write_private(pid_file, json.dumps({"pid": process.pid, "start": _start_mark(process.pid)}) + "\n")


def recall(pid_file: Path) -> psutil.Process | None:
    """The process that `remember` wrote down, if that very one is still alive."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, *_GONE):
        noted = json.loads(pid_file.read_text())
        process = psutil.Process(int(noted["pid"]))
        if is_alive(process) and _start_mark(process.pid) == noted["start"]:
            return process
    return None


def noted_pid(pid_file: Path) -> int | None:
    """The number that `remember` wrote down, whether or not that process is still alive."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        return int(json.loads(pid_file.read_text())["pid"])
    return None


def session_of(leader: psutil.Process) -> list[psutil.Process]:
    """The living processes of the session that `leader` leads, itself included."""
    return [process for process in psutil.process_iter() if session_id(process) == leader.pid and is_alive(process)]


def session_id(process: psutil.Process) -> int:
    """The number of the session's leader, which stays when the leader has died; -1 when the process is gone."""
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return -1


def end(processes: Sequence[psutil.Process], patience_seconds: float) -> list[psutil.Process]:
    """Ask processes to end, wait, and kill those that did not; those killed are returned."""
    _signal(processes, signal.SIGTERM)
    stubborn = wait_gone(processes, patience_seconds)
    _signal(stubborn, signal.SIGKILL)
    wait_gone(stubborn, 10)
    return stubborn


def wait_gone(processes: Sequence[psutil.Process], patience_seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, at most so long; those that have not are returned."""
    deadline = time.monotonic() + patience_seconds
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [process for process in left if is_alive(process)]
    return left


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log file, or an empty text."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""


@contextlib.contextmanager
def only_here(lock_file: Path) -> Iterator[None]:
    """Hold a lock while something is started or stopped, so that two commands at once take turns."""
    import fcntl

    private_folder(lock_file.parent)
    with lock_file.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _belongs(process: psutil.Process, data_dir: Path) -> bool:
    with contextlib.suppress(*_GONE):
        if process.environ().get(MARKER) == str(data_dir):
            return is_alive(process)
    programs = {"airflow": "python", "source": "postgres", "warehouse": "postgres", "redis": "redis"}
    return any(_is_in(process, data_dir / folder, program) for folder, program in programs.items())


def _is_in(process: psutil.Process, folder: Path, program: str) -> bool:
    with contextlib.suppress(*_GONE):
        # The kernel appends this to the name of a folder that was removed under the process.
        where = process.cwd().removesuffix(" (deleted)")
        return where == str(folder) and Path(process.exe()).name.startswith(program) and is_alive(process)
    return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(*_GONE):
            process.send_signal(number)


def _start_mark(pid: int) -> str:
    """Boot and clock tick of a process's start: no adjustment of the clock changes it, no other process repeats it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return f"{boot}/{after_name[19]}"
