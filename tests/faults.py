"""Faults for tests: a connection that is cut in the middle, a process that is killed at a chosen point."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """A TCP relay on 127.0.0.1 that lets a number of bytes through from the server and then closes both sides."""

    target: int
    budget: int | None = None
    port: int = 0
    passed: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def dsn(self, dsn: str) -> str:
        """The DSN of the target, through this proxy."""
        return dsn.replace(f":{self.target}/", f":{self.port}/")

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open += [client, server]
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._relay, args=(source, sink, counts), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counts:
                    allowed = len(data) if self.budget is None else max(0, self.budget - self.passed)
                    self.passed += len(data[:allowed])
                    sink.sendall(data[:allowed])
                    if allowed < len(data):
                        break
                else:
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(target: int, budget: int | None = None) -> Iterator[Proxy]:
    """A running proxy, gone at the end. `budget`: bytes from the server, over all connections, before it cuts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Proxy(target, budget, listener.getsockname()[1])
        threading.Thread(target=relay._serve, args=(listener,), daemon=True).start()
        try:
            yield relay
        finally:
            # A listener that another thread waits on has to be shut down, not only closed.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for end in relay._open:
                end.close()


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
