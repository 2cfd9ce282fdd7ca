"""Reading files that people bring, plain or gzip: every line is either good or counted with its reason."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from governance.errors import InputError

LONGEST_LINE = 65_536  # bytes; a longer one is malformed, and never held in memory as a whole
_GZIP = b"\x1f\x8b"


@dataclass
class Tally:
    """Lines read, and of these the malformed ones by reason."""

    read: int = 0
    malformed: Counter[str] = field(default_factory=Counter)


class MalformedLineError(Exception):
    """A line cannot be used; the message is the reason, one of a few, and holds nothing of the line."""


def lines(path: Path) -> Iterator[bytes | None]:
    """Return the lines of a file, plain or gzip (told by its first bytes), without their ends; None for a long one.

    Raises InputError when the file cannot be read, is empty, or is a gzip file that is cut off or damaged.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            stream = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
            yield from _lines(path, stream)
    except EOFError as error:
        raise InputError(f"{path}: the gzip file is cut off. Fetch it again; nothing was loaded.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged. Fetch it again; nothing was loaded.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a readable file.") from error


def _lines(path: Path, stream: io.BufferedIOBase) -> Iterator[bytes | None]:
    empty = True
    while chunk := stream.readline(LONGEST_LINE):
        empty = False
        if len(chunk) < LONGEST_LINE or chunk.endswith(b"\n"):
            yield chunk.rstrip(b"\r\n")
            continue
        while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None
    if empty:
        raise InputError(f"{path}: the file is empty. Give the file as it was published, plain or gzip.")


def text_of(line: bytes | None) -> str:
    """Return a line as text. Raises MalformedLineError when it is too long, empty, not UTF-8, or holds a NUL."""
    if line is None:
        raise MalformedLineError("line too long")
    if not line.strip():
        raise MalformedLineError("empty line")
    if b"\0" in line:
        raise MalformedLineError("NUL byte")  # Postgres has no place for it in a text
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedLineError("not UTF-8") from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, by which it is known again. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a readable file.") from error
