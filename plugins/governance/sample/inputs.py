"""Reading files that people bring, plain or gzip: every line is either good or counted with its reason."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from governance.errors import InputError

LONGEST_LINE = 65_536  # bytes; a longer one is malformed, and never held in memory as a whole
MOST_LINES = 5_000_000
MOST_UNPACKED = 200
"""How many times its size a gzip file may unpack to, once that is more than `FREE_UNPACKED` bytes: logs and tables stay
below 50, and a file that is made to fill a machine reaches 1,000."""
FREE_UNPACKED = 64 << 20
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class Tally:
    """Lines read, and of these the malformed ones by reason."""

    read: int = 0
    malformed: Counter[str] = field(default_factory=Counter)


class MalformedLineError(Exception):
    """A line cannot be used; the message is the reason, one of a few, and holds nothing of the line."""


def lines(path: Path) -> Iterator[bytes | None]:
    """Return the lines of a file, plain or gzip (told by its first bytes), without their ends; None for a long one.

    Raises InputError when the file cannot be read, is empty or endless, or is a gzip file that is cut off or damaged.
    """
    try:
        with _opened(path) as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            stream = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
            most = max(MOST_UNPACKED * path.stat().st_size, FREE_UNPACKED) if zipped else None
            for number, line in enumerate(_lines(path, stream, most), 1):
                if number > MOST_LINES:
                    raise InputError(f"{path}: more than {MOST_LINES:,} lines. Give a part of it; nothing was loaded.")
                yield line
    except EOFError as error:
        raise InputError(f"{path}: the gzip file is cut off. Fetch it again; nothing was loaded.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged. Fetch it again; nothing was loaded.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a readable file.") from error


def _opened(path: Path) -> BufferedReader:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(
            f"{path}: a pipe or a device, which can be read once only or has no end. Save it to a file and give that."
        )
    return path.open("rb")


def _lines(path: Path, stream: io.BufferedIOBase, most: int | None) -> Iterator[bytes | None]:
    size, is_rest = 0, False
    while chunk := stream.readline(LONGEST_LINE):
        first = chunk.removeprefix(_BYTE_ORDER_MARK) if not size else chunk
        size += len(chunk)
        if most is not None and size > most:
            raise InputError(
                f"{path}: the gzip file unpacks to more than {MOST_UNPACKED} times its size, which no log or table "
                f"does. Look at what it is; nothing was loaded."
            )
        is_whole = len(chunk) < LONGEST_LINE or chunk.endswith(b"\n")
        if not is_rest:
            yield first.rstrip(b"\r\n") if is_whole else None
        is_rest = not is_whole
    if not size:
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
        with _opened(path) as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the path of a readable file.") from error
