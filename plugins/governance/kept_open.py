"""Connections that stay open from one use to the next, for a step that would open the same ones hundreds of times. An
edge.

A login costs milliseconds of CPU on both sides, by design (SCRAM, RFC 5802), and a process at the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import psycopg2
import psycopg2.extensions

_PLACES: ContextVar[dict[str, Place] | None] = ContextVar("places of connections", default=None)


class Place:
    """Where the connection to one address waits for its next use."""

    def __init__(self) -> None:
        self._waiting: psycopg2.extensions.connection | None = None
        self._is_over = False

    def given(self) -> psycopg2.extensions.connection | None:
        """The one that waits, unless its server has let go of it meanwhile."""
        connection, self._waiting = self._waiting, None
        return connection if connection is not None and _is_alive(connection) else None

    def takes(self, connection: psycopg2.extensions.connection) -> bool:
        """Take back one that is of use to the next; False of any other, which is to be closed."""
        if self._is_over or self._waiting is not None or not _is_clean(connection):
            return False
        self._waiting = connection
        return True

    def end(self) -> None:
        """Close the one that waits; one that is in use is closed by whoever uses it."""
        self._is_over = True
        if self._waiting is not None:
            self._waiting.close()


@contextmanager
def kept_open(*addresses: str) -> Iterator[None]:
    """Within it, a connection to one of these addresses stays open when it is closed, for whoever connects there next.

    Only for logins whose sessions need not be told apart: a session that reads personal data belongs to one entry of
    the log (`door.py`), and is no such one.
    """
    places = {address: Place() for address in addresses}
    token = _PLACES.set(places)
    try:
        yield
    finally:
        _PLACES.reset(token)
        for place in places.values():
            place.end()


def place(address: str) -> Place | None:
    """Where a connection to an address waits, if such ones stay open here."""
    return (_PLACES.get() or {}).get(address)


def _is_alive(connection: psycopg2.extensions.connection) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT")
        connection.rollback()
    except psycopg2.Error:
        with suppress(psycopg2.Error):
            connection.close()
        return False
    return True


def _is_clean(connection: psycopg2.extensions.connection) -> bool:
    if connection.closed:
        return False
    try:
        connection.rollback()
    except psycopg2.Error:
        return False
    return True
