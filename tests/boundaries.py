"""Every boundary of a piece of work: where it touches a database or a file, and where SIGKILL may end it.

Between two boundaries nothing leaves the process, so a kill before the next one stands for every kill since the one
before. Boundaries are statements, commits and reads of a COPY (psycopg2, ADBC, SQLite), files that are made, written,
renamed, linked or removed, programs that are started, and the end of the work.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sqlite3
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

import psycopg2
import psycopg2.extensions

from governance.database import BinaryCopy

FILE_EVENTS = frozenset(
    {
        "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.symlink",
        "subprocess.Popen", "sqlite3.connect",
    }
)  # fmt: skip
"""Audit events of the interpreter; `open` counts too, where it is to write."""


@dataclass
class Boundaries:
    """Counts what a process crosses, and ends it with SIGKILL at one of them: the n-th, or the first that says a text;
    0 ends it nowhere."""

    fatal: int | str = 0
    crossed: list[str] = field(default_factory=list)
    report: Callable[[str], object] = lambda _: None

    def cross(self, what: str, before_the_end: Callable[[], object] = lambda: None) -> None:
        """A boundary; `before_the_end` makes what a kill in the middle would have left."""
        self.crossed.append(what)
        if self.fatal == len(self.crossed) or (isinstance(self.fatal, str) and self.fatal in what):
            before_the_end()
            self.report(what)
            os.kill(os.getpid(), signal.SIGKILL)


_CHANGE = re.compile(
    r"\b(INSERT|UPDATE|DELETE|COPY|BEGIN|CREATE|ALTER|GRANT|REVOKE|DROP|DO|TRUNCATE|ANALYZE|audit\.append|keep_text"
    r"|settle)\b"
)
_READ = re.compile(r"connect|close$|ADBC|FETCH|SQLite: (SELECT|PRAGMA)|sqlite3\.connect|SELECT|select|show|SET|COMMIT$")


def matter(crossed: Sequence[str]) -> Iterator[int]:
    """Numbers, from 1, of the boundaries at which a kill may leave something else than at the one before: at a change,
    a commit of changes, and the next after these. Of the others, between two reads, one in six."""
    is_open = was_change = False
    for number, what in enumerate(crossed, 1):
        is_commit = what == "COMMIT" or what == "SQLite: COMMIT"
        is_change = (is_commit and is_open) or bool(_CHANGE.search(what)) or not _READ.match(what)
        if is_change or was_change or number % 6 == 0:
            yield number
        is_open, was_change = not is_commit and (is_open or is_change), is_change


class Killed(str):
    """The boundary at which a process was killed."""


def run(work: Callable[[], object], fatal: int | str = 0) -> Killed | list[str]:
    """Do a piece of work in a child process that is killed at its n-th boundary, or the first that says a text.

    Returns the boundary, or, of work that ends before, or is not to be killed (0), all that it crossed. Fails with the
    child's traceback when the work fails.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, Boundaries(fatal, report=lambda what: os.write(writing, what.encode()[:500])), writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Killed(said)
    assert status == 0, f"the work failed, {f'to be killed at boundary {fatal}' if fatal else 'left alone'}:\n{said}"
    return said.splitlines()


def _work(work: Callable[[], object], boundaries: Boundaries, writing: int) -> NoReturn:
    """The child's life."""
    gc.disable()  # it would touch, and so copy, every page of the parent's
    code, said = 0, ""
    try:
        watch(boundaries)
        work()
        boundaries.cross("the end")
        said = "\n".join(boundaries.crossed)
    except BaseException:  # noqa: BLE001 -- this process ends here, whatever it was
        code, said = 1, traceback.format_exc()
    finally:
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(said)
        os._exit(code)


def watch(boundaries: Boundaries) -> None:
    """See every boundary of this process from now on, for ever."""
    _watch_files(boundaries)
    _watch_postgres(boundaries)
    _watch_sqlite(boundaries)
    _watch_arrow(boundaries)


def _watch_files(boundaries: Boundaries) -> None:
    fsync = os.fsync

    def half(file: int) -> None:
        os.truncate(f"/proc/self/fd/{file}", os.fstat(file).st_size // 2)  # also one that is open to be read

    def synced(file: int) -> None:
        if stat.S_ISREG(os.fstat(file).st_mode):
            boundaries.cross("half of a file is written", lambda: half(file))
            boundaries.cross("a file is written")
        fsync(file)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS or (event == "open" and _writes(*arguments)):
            boundaries.cross(f"{event} {arguments[1] if event == 'subprocess.Popen' else arguments[0]!s}"[:400])

    os.fsync = synced
    sys.addaudithook(heard)


def _writes(path: object, mode: str | None, flags: int) -> bool:
    name = str(path)
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) and not name.startswith("/dev/") and "__pycache__" not in name


def _watch_postgres(boundaries: Boundaries) -> None:
    connect, read = psycopg2.connect, BinaryCopy.read
    cursors, connections = _cursors(boundaries), _connections(boundaries)

    def connected(*arguments: Any, **named: Any) -> Any:
        boundaries.cross("connect")
        named["connection_factory"] = connections(named.get("connection_factory") or psycopg2.extensions.connection)
        opened = connect(*arguments, **named)
        opened.cursor_factory = cursors(opened.cursor_factory or psycopg2.extensions.cursor)
        return opened

    def read_on(self: BinaryCopy, size: int = -1) -> bytes:
        boundaries.cross("COPY reads")
        return read(self, size)

    psycopg2.connect = connected  # type: ignore[assignment]
    BinaryCopy.read = read_on  # type: ignore[method-assign]


def _cursors(boundaries: Boundaries) -> Callable[[type], type]:
    class Crossing:
        def execute(self, query: Any, vars: Any = None) -> None:
            text = query.as_string(self) if hasattr(query, "as_string") else query
            boundaries.cross(_said(text.decode() if isinstance(text, bytes) else text))
            super().execute(query, vars)

        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            boundaries.cross("COPY")
            super().copy_expert(sql, file, size)

        def fetchmany(self, *size: int) -> Any:
            if self.name:
                boundaries.cross(f"FETCH {self.name}")
            return super().fetchmany(*size)

    return cache(lambda base: type("Cursor", (Crossing, base), {}))


def _connections(boundaries: Boundaries) -> Callable[[type], type]:
    class Crossing:
        def commit(self) -> None:
            boundaries.cross("COMMIT")
            super().commit()

        def close(self) -> None:
            boundaries.cross("close")
            super().close()

    return cache(lambda base: type("Connection", (Crossing, base), {}))


def _said(statement: str) -> str:
    """A statement on one line, without the comment before it."""
    lines = (line for line in statement.splitlines() if not line.lstrip().startswith("--"))
    return " ".join(" ".join(lines).split())[:120]


def _watch_sqlite(boundaries: Boundaries) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> Any:
            boundaries.cross(f"SQLite: {' '.join(statement.split())[:100]}")
            return super().execute(statement, *values)

        def executemany(self, statement: str, *values: Any) -> Any:
            boundaries.cross(f"SQLite, many: {' '.join(statement.split())[:100]}")
            return super().executemany(statement, *values)

    connect = sqlite3.connect

    def connected(*arguments: Any, **named: Any) -> Any:
        return connect(*arguments, **named | {"factory": Connection})

    sqlite3.connect = connected


def _watch_arrow(boundaries: Boundaries) -> None:
    from adbc_driver_manager import dbapi

    for owner, name in (
        (dbapi, "connect"), (dbapi.Cursor, "execute"), (dbapi.Cursor, "fetch_arrow_table"),
        (dbapi.Cursor, "fetch_record_batch"),
    ):  # fmt: skip
        _before(boundaries, owner, name)


def _before(boundaries: Boundaries, owner: Any, name: str) -> None:
    original = getattr(owner, name)

    def wrapper(*arguments: Any, **named: Any) -> Any:
        boundaries.cross(f"ADBC {name}")
        return original(*arguments, **named)

    setattr(owner, name, wrapper)
