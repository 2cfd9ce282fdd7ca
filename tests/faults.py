"""Faults for tests: a connection that is cut in the middle, a process that is killed at a chosen point."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


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
