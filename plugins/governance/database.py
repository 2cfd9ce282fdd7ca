"""What every connection to our database shares: its errors without their text, and binary COPY from Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg2
import psycopg2.extensions

from governance.errors import GovernanceError, WarehouseUnavailableError, trouble

if TYPE_CHECKING:
    import pyarrow as pa


def taking(dsn: str, role: str | None = None, *, name: str | None = None, **settings: str) -> str:
    """The address of a login, as one that takes a role when it connects, calls itself by a name, and has settings.

    >>> taking("postgresql://pipeline:x@127.0.0.1/governance", "publisher")
    'postgresql://pipeline:x@127.0.0.1/governance?options=-c%20role%3Dpublisher'
    """
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    wanted = [*([f"role={role}"] if role else []), *(f"{key}={value}" for key, value in settings.items())]
    options = [query["options"]] if "options" in query else []
    query |= {"options": " ".join([*options, *(f"-c {setting}" for setting in wanted)])} if wanted else {}
    query |= {"application_name": name} if name else {}
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


@contextmanager
def translated(label: str = "the database of this project") -> Iterator[None]:
    """Turn the driver's errors into ours, without their text. `label` says whose step it is."""
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise WarehouseUnavailableError(
            f"{label}: our database {trouble(error.pgcode, str(error))} (SQLSTATE {error.pgcode or 'none'}); "
            f"nothing of this step was kept; check connection wellbe_warehouse_* and its server, the task retries"
        ) from None
    except psycopg2.Error as error:
        raise GovernanceError(
            f"{label}: our database refused the step ({type(error).__name__}, SQLSTATE {error.pgcode or 'none'}"
            f"{_place(error)}); nothing of it was kept; "
            f"report it with the entry of this run in `governance runs --failed`"
        ) from None


def _place(error: psycopg2.Error) -> str:
    diagnostics = error.diag
    named = [diagnostics.schema_name, diagnostics.table_name, diagnostics.column_name, diagnostics.constraint_name]
    return "".join(f", {name}" for name in named if name)


class BinaryCopy:
    """A readable that encodes Arrow batches as PostgreSQL's binary COPY while the driver asks for bytes."""

    def __init__(self, first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> None:
        from pgpq import ArrowToPostgresBinaryEncoder

        self._encoder = ArrowToPostgresBinaryEncoder(first.schema)
        self._chunks = self._encoded(first, rest)
        self._buffer = memoryview(b"")
        self.broken_by: BaseException | None = None
        """What ended the batches before their end: the source, a key, a count."""

    def _encoded(self, first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        yield self._encoder.write_header()
        yield self._encoder.write_batch(first)
        for batch in rest:
            yield self._encoder.write_batch(batch)
        yield self._encoder.finish()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, b'' at the end, as psycopg2.copy_expert reads them."""
        while not self._buffer:
            try:
                chunk = next(self._chunks, None)
            except BaseException as error:
                # The driver sends the text of what a reader raises to the server, and raises the server's answer
                # instead.
                self.broken_by = error
                raise _Broken from error
            if chunk is None:
                return b""
            self._buffer = memoryview(chunk)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(taken)


class _Broken(Exception):
    """Tells the driver to break off a COPY, and nothing else."""
