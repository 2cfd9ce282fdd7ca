"""How long a server is waited for that stays connected and says nothing. An edge.

The drivers wait in C, where no signal handler of Python runs: neither Airflow's time limit nor Ctrl-C ends such a wait.
Settings of TCP end the wait for a machine that is gone, not that for a server that hangs, or that sends a byte now and
then: its kernel answers for it. So calls of ADBC, which has no time limit and hides its socket, are made in a thread of
their own that can be left behind; those of psycopg2, which shows its socket, are watched, and the socket is shut down
under a call that takes too long.
"""

from __future__ import annotations

import concurrent.futures
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg2
import psycopg2.extensions

from governance import kept_open

T = TypeVar("T")

LINK: dict[str, int] = {
    "connect_timeout": 10,  # seconds, for the whole login
    # A machine that is gone is noticed after 30 + 3 * 10 seconds of silence, or when it takes nothing for as long.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""What libpq is told of every connection, unless its address says otherwise."""

ANSWER_SECONDS = 1800
"""How long our database may work on one statement, or take nothing of a COPY: a quarter of what a task may take, and
many times what the settlement of the largest partition takes."""

SERVER: dict[str, str] = {
    # A task that stands still between two statements of a transaction holds its locks for so long and no longer. (One
    # that stands still between transactions, or in the middle of a COPY, holds its partition until it is ended: that is
    # what the executor's heartbeat and the time limit of a task are for.) A machine that is gone is noticed within a
    # minute.
    "idle_in_transaction_session_timeout": "30min",
    "tcp_keepalives_idle": "30s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
}
"""What our server is told of such a connection, unless its address says otherwise."""

SILENT = "the server was waited for too long"
"""Text of the error of a connection that was cut for that reason."""


def linked(uri: str) -> str:
    """An address with `LINK` in its query; what it says itself stays.

    >>> linked("postgresql://u:p@h/d?connect_timeout=3").split("&")[:2]
    ['postgresql://u:p@h/d?connect_timeout=3', 'keepalives_idle=30']
    """
    parts = urlsplit(uri)
    query = LINK | dict(parse_qsl(parts.query))
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


class Aside:
    """A thread that makes calls one after another, while who asked for them can be interrupted, and can give up.

    What it was doing then it does to its end, which may be that of the process; nothing is closed under it.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self.is_stuck = False
        """Somebody has given up; nothing more is to be asked."""
        self.is_over = False
        """Nothing more is done."""
        threading.Thread(target=self._work, name="governance-aside", daemon=True).start()

    def call(self, work: Callable[[], T], seconds: float) -> T:
        """What a call brings. Raises TimeoutError, and is stuck from then on, when it brings nothing in time."""
        return self._of(self._ask(work), seconds)

    def only(self, work: Callable[[], T], seconds: float) -> T:
        """As `call`, for the one thing that is to be done."""
        answer = self._ask(work)
        self._end()
        return self._of(answer, seconds)

    def end(self, last: Callable[[], object], seconds: float) -> None:
        """Make a last call, which may fail, when the thread has come to it; it is waited for only so long."""
        answer = self._ask(last)
        self._end()
        concurrent.futures.wait([answer], seconds)

    def _ask(self, work: Callable[[], T]) -> Future[T]:
        answer: Future[T] = Future()
        self._calls.put((work, answer))
        return answer

    def _end(self) -> None:
        self.is_over = True
        self._calls.put(None)

    def _of(self, answer: Future[T], seconds: float) -> T:
        try:
            with suppress(TimeoutError):
                answer.exception(seconds)  # waits for either; `result` would raise what the call may raise too
        finally:
            self.is_stuck = not answer.done()  # also when a signal has ended the wait
        if self.is_stuck:
            raise TimeoutError
        return answer.result()

    def _work(self) -> None:
        while asked := self._calls.get():
            work, answer = asked
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- it is raised where the call was asked for
                answer.set_exception(error)
            del work, answer, asked  # or what they hold would live until the next call


class Connection(psycopg2.extensions.connection):
    """A connection that is cut when the server works on one statement, or takes nothing, for `ANSWER_SECONDS`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cursor_factory = _Cursor
        self._waits_since: float | None = None
        self._was_silent = False
        self.place: kept_open.Place | None = None
        self._guard = threading.Lock()
        self._left = threading.Event()
        watched = (weakref.ref(self), self._left, ANSWER_SECONDS)
        threading.Thread(target=_watch, args=watched, name="governance-watch", daemon=True).start()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around every call that waits for the server. Raises OperationalError when it was cut for its silence."""
        self.waits(True)
        try:
            yield
        except psycopg2.Error:
            if self._was_silent:
                raise psycopg2.OperationalError(SILENT) from None
            raise
        finally:
            self.waits(False)

    def waits(self, is_waiting: bool) -> None:
        """From now on the server is waited for, or not."""
        with self._guard:
            self._waits_since = time.monotonic() if is_waiting else None

    def cut_if_silent(self, seconds: float) -> None:
        """Shut the socket down when the server has been waited for so long."""
        with self._guard:
            if self._waits_since is None or time.monotonic() - self._waits_since < seconds:
                return
            self._was_silent = True
            with suppress(OSError, psycopg2.Error), socket.socket(fileno=os.dup(self.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)  # which ends the wait in C, as a server does that hangs up

    def commit(self) -> None:
        """As psycopg2's."""
        with self.answering():
            super().commit()

    def rollback(self) -> None:
        """As psycopg2's."""
        with self.answering():
            super().rollback()

    def close(self) -> None:
        """As psycopg2's; one that stays open (`kept_open`) goes back to its place."""
        if self.place is not None and self.place.takes(self):
            return
        self._left.set()
        super().close()


class _Cursor(psycopg2.extensions.cursor):
    """Tells its connection when the server is waited for."""

    connection: Connection

    def execute(self, query: Any, vars: Any = None) -> None:
        with self.connection.answering():
            super().execute(query, vars)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        with self.connection.answering():
            super().copy_expert(sql, _Watched(file, self.connection), size)


class _Watched:
    """A source or a target of a COPY: while it is read or written, it is not the server that is waited for."""

    def __init__(self, file: Any, connection: Connection) -> None:
        self._file, self._connection = file, connection

    def read(self, size: int = -1) -> Any:
        self._connection.waits(False)
        part = self._file.read(size)
        self._connection.waits(True)
        return part

    def write(self, data: bytes) -> Any:
        self._connection.waits(False)
        written = self._file.write(data)
        self._connection.waits(True)
        return written


def _watch(watched: weakref.ref[Connection], left: threading.Event, seconds: float) -> None:
    while not left.wait(seconds / 10):
        connection = watched()
        if connection is None:
            return  # forgotten without having been closed
        connection.cut_if_silent(seconds)
        del connection


def connect(dsn: str, **named: Any) -> Connection:
    """A connection of psycopg2 that waits for no server for ever, and no server for it.

    Raises psycopg2.OperationalError.
    """
    place = kept_open.place(dsn)
    if place is None:
        return _opened(dsn, **named)
    if (waiting := place.given()) is not None:
        return cast(Connection, waiting)
    opened = _opened(dsn, **named)
    opened.place = place
    return opened


def _opened(dsn: str, **named: Any) -> Connection:
    asked = LINK | psycopg2.extensions.parse_dsn(dsn) | named
    asked["options"] = " ".join([*(f"-c {name}={value}" for name, value in SERVER.items()), asked.get("options", "")])
    opened: Connection = psycopg2.connect(connection_factory=Connection, **asked)
    return opened
