"""Faults for tests: a connection that fails in the middle, a process that is killed at a chosen point, a full disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from governance.errors import ContendedError


@dataclass
class Proxy:
    """A TCP relay on 127.0.0.1 that lets a number of bytes through from one side and then fails as it is told to.

    `then`: what it does next. *close*: hang up on both sides; *reset*: the same, without a goodbye (RST); *stall*: stay
    connected and pass nothing on, either way; *drip*: pass on a byte every `pause` seconds.
    """

    target: int
    budget: int | None = None
    then: str = "close"
    counted: str = "server"
    pause: float = 1.0
    port: int = 0
    passed: int = 0
    _open: list[socket.socket] = field(default_factory=list)
    _spent: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def dsn(self, dsn: str) -> str:
        """The DSN of the target, through this proxy."""
        return dsn.replace(f":{self.target}/", f":{self.port}/")

    def fail(self) -> None:
        """Fail now, whatever has passed, for connections that there are and, when it stalls, for new ones."""
        if self.then == "stall":
            self._spent.set()
        else:
            self._hang_up(self._open)

    def end(self) -> None:
        """Hang up on everybody."""
        self._over.set()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open += [client, server]
            for source, sink, side in ((client, server, "client"), (server, client, "server")):
                threading.Thread(target=self._relay, args=(source, sink, side == self.counted), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._spent.is_set():
                    self._over.wait()
                is_free = not counts or self.budget is None
                allowed = len(data) if is_free else min(len(data), max(0, (self.budget or 0) - self.passed))
                self.passed += len(data[:allowed]) if counts else 0
                sink.sendall(data[:allowed])
                if allowed == len(data):
                    continue
                if self.then == "drip":
                    self._drip(data[allowed:], sink)
                elif self.then == "stall":
                    self._spent.set()
                    self._over.wait()
                else:
                    break
        self._hang_up([source, sink])

    def _drip(self, data: bytes, sink: socket.socket) -> None:
        for position in range(len(data)):
            if self._over.wait(self.pause):
                return
            sink.sendall(data[position : position + 1])

    def _hang_up(self, ends: list[socket.socket]) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                if self.then == "reset":
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RD)  # says nothing, but wakes the thread that reads and keeps it open
                    end.close()
                else:
                    end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(target: int, budget: int | None = None, **how: Any) -> Iterator[Proxy]:
    """A running proxy, gone at the end. `budget`: bytes of the counted side, over all connections, before it fails."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Proxy(target, budget, port=listener.getsockname()[1], **how)
        threading.Thread(target=relay._serve, args=(listener,), daemon=True).start()
        try:
            yield relay
        finally:
            # A listener that another thread waits on has to be shut down, not only closed.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            relay.end()


Stop = Callable[[], None]


def killed(work: Callable[[], object], point: Callable[[Stop], None], patience_seconds: float = 60) -> None:
    """Do a piece of work in a child process and end that with SIGKILL when it reaches a point.

    `point` is called in the child with a function that never returns; it puts that function where the work is to be
    killed. Fails when the work ends without getting there.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:

            def stop() -> None:
                os.write(writing, b"!")
                time.sleep(600)

            point(stop)
            work()
        finally:
            os._exit(1)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], patience_seconds)
        reached = bool(ready) and os.read(reading, 1) == b"!"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
    assert reached, "the work ended, or hung, before it reached the point"


T = TypeVar("T")

# Every folder becomes a disk of its own that holds what the folder held; whoever is not in this namespace sees nothing
# of it. It ends with its standard input.
_MOUNT = """
set -e
while [ $# -gt 0 ]; do
    mount -t tmpfs -o "size=$2k,mode=0700" none "$stage"
    cp -a "$1/." "$stage/"
    mount --bind "$stage" "$1"
    shift 2
done
echo ready
exec cat
"""


@dataclass
class SmallDisks:
    """Folders that are small disks, for the processes that are put into their namespace and for nobody else."""

    holder: int

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command that is to see them; it runs there as root, whoever we are."""
        return ("nsenter", "--user", "--mount", "--preserve-credentials", f"--target={self.holder}", "--")

    def fill(self, folder: Path, leave: int = 0) -> None:
        """Leave so many bytes of a disk."""
        with self._seen(folder / "ballast").open("xb") as file:
            here = os.statvfs(file.fileno())
            os.posix_fallocate(file.fileno(), 0, here.f_bavail * here.f_frsize - leave)

    def free(self, folder: Path) -> None:
        """Take away what filled a disk."""
        self._seen(folder / "ballast").unlink(missing_ok=True)

    def within(self, work: Callable[[], T]) -> T:
        """Do a piece of work in a child process that sees the disks; returns, or raises, what it does."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for kind in ("user", "mnt"):
                    if ctypes.CDLL(None).setns(os.open(f"/proc/{self.holder}/ns/{kind}", os.O_RDONLY), 0):
                        os._exit(3)
                try:
                    told: Any = (True, work())
                except BaseException as error:  # noqa: BLE001 -- it is raised where the work was asked for
                    told = (False, error)
                with os.fdopen(writing, "wb") as pipe:
                    pickle.dump(told, pipe)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        is_done, result = pickle.loads(said)
        if not is_done:
            raise result
        return result  # type: ignore[no-any-return]

    def _seen(self, path: Path) -> Path:
        return Path(f"/proc/{self.holder}/root{path}")


@contextlib.contextmanager
def small_disks(stage: Path, sizes: dict[Path, int]) -> Iterator[SmallDisks]:
    """Disks of so many KiB in the place of folders. `stage`: an empty folder."""
    pairs = [str(part) for pair in sizes.items() for part in pair]
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh", *pairs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"stage": str(stage)},
    ) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"ready\n"
            yield SmallDisks(holder.pid)
        finally:
            holder.kill()


Put = Callable[[Any, str, Any], None]
"""`setattr`, or that of a MonkeyPatch, which is undone."""
Point = Callable[..., None]
"""Takes what is to happen there, and how the function is replaced by one that does it."""


def before(target: Any, name: str, nth: int = 1) -> Point:
    """Just before the nth call of a function."""
    return _at(target, name, nth, is_after=False)


def after(target: Any, name: str, nth: int = 1) -> Point:
    """When the nth call of a function has returned."""
    return _at(target, name, nth, is_after=True)


def _at(target: Any, name: str, nth: int, *, is_after: bool) -> Point:
    def point(happen: Stop, put: Put = setattr) -> None:
        original, calls = getattr(target, name), [0]

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            is_now = calls[0] == nth
            if is_now and not is_after:
                happen()
            result = original(*args, **kwargs)
            if is_now and is_after:
                happen()
            return result

        is_static = isinstance(vars(target).get(name), staticmethod)
        put(target, name, staticmethod(wrapper) if is_static else wrapper)

    return point


def again(work: Callable[[], T], patience_seconds: float = 15) -> T:
    """What a scheduler does: try again while the partition is held, here by a session not yet noticed to be dead."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return work()
        except ContendedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
