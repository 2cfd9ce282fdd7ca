"""A search of raw bytes for values in every written form: whole data directories of a cluster, logs, outboxes.

What Postgres compresses is decompressed: values in rows and in their chunks (TOAST), live or dead, and as the
write-ahead log has them; page images of that log as `pg_waldump` saves them. Nothing here asks the server for a row.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from governance.embedded import postgres

LEAST_BYTES = 8
"""A shorter form would be met by chance."""
WAL_PAGE, FIRST_HEADER, HEADER = 8192, 40, 24
"""A page of the write-ahead log, and the headers that cut through its records (access/xlog_internal.h)."""
LONGEST_DATUM, CHUNK = 8192, 1996
"""Of a compressed value within a row, and of a piece of one that is stored beside it (access/heaptoast.h)."""
LONGEST_VALUE = 1 << 24
FIRST_OID, MOST_PIECES = 16384, LONGEST_VALUE // CHUNK


# -- forms -------------------------------------------------------------------------------------------------------------


def forms(value: str) -> dict[str, bytes]:
    """How a value may be written, by name; those of a number too, where it is one."""
    plain = value.encode()
    found = {
        "plain": plain,
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
        "UTF-16LE": value.encode("utf-16-le"),
        "UTF-16BE": value.encode("utf-16-be"),
        "hex of UTF-16LE": value.encode("utf-16-le").hex().encode(),
        "JSON": json.dumps(value).strip('"').encode(),
        "JSON, every letter": "".join(f"\\u{ord(letter):04x}" for letter in value).encode(),
        "JSON, every LETTER": "".join(f"\\u{ord(letter):04X}" for letter in value).encode(),
        "Latin-1": value.encode("latin-1", "replace"),
    }
    for shift in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            found[f"{name}, alignment {shift}"] = _aligned(encode(bytes(shift) + plain), shift, len(plain))
    if value.isdigit():
        fours = [value[at : at + 4] for at in range(0, len(value), 4)]
        found |= {
            "spaced": " ".join(fours).encode(),
            "dashed": "-".join(fours).encode(),
            "int8": int(value).to_bytes(8, "little"),
            "int8, big-endian": int(value).to_bytes(8, "big"),
            "numeric": b"".join(int(four).to_bytes(2, "little") for four in fours),
            "numeric, big-endian": b"".join(int(four).to_bytes(2, "big") for four in fours),
        }
        if not len(value) % 2:
            found["packed digits"] = bytes.fromhex(value)
    return {name: written for name, written in found.items() if len(written) >= LEAST_BYTES}


def _aligned(encoded: bytes, shift: int, size: int) -> bytes:
    """The letters of a base64 text that say nothing but `size` bytes after `shift` others."""
    return encoded[-(-shift * 8 // 6) : (shift + size) * 8 // 6]


class Wanted:
    """Values by name, in all their forms; `told` finds those that occur in some bytes."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._needles = [(f"{name}: {form}", what) for name, v in values.items() for form, what in forms(v).items()]
        self._by_head: dict[bytes, list[tuple[str, bytes]]] = {}
        self._first, self._second = (np.zeros(1 << 16, bool) for _ in range(2))
        for name, what in self._needles:
            self._by_head.setdefault(what[:4], []).append((name, what))
            self._first[int.from_bytes(what[:2], "little")] = True
            self._second[int.from_bytes(what[2:4], "little")] = True

    def told(self, data: bytes) -> set[str]:
        """Which values in which forms occur in the bytes."""
        pairs = _at_every_byte(data, np.uint16, 2)
        if len(pairs) < 3:
            return set()
        places = np.flatnonzero(self._first[pairs[:-2]] & self._second[pairs[2:]])
        return {
            name
            for place in places.tolist()
            for name, what in self._by_head.get(data[place : place + 4], ())
            if data.startswith(what, place)
        }


def _at_every_byte(data: bytes, kind: type[np.unsignedinteger], size: int) -> np.ndarray:
    """The little-endian number that begins at each byte."""
    count = len(data) - size + 1
    if count <= 0:
        return np.zeros(0, kind)
    octets = np.frombuffer(data, np.uint8)
    found = np.zeros(count, kind)
    for place in range(size):
        found |= octets[place : place + count].astype(kind) << kind(8 * place)
    return found


# -- what is compressed ------------------------------------------------------------------------------------------------


def decompressed(data: bytes) -> Iterator[bytes]:
    """Every value that Postgres has compressed somewhere in these bytes (pglz, the only method of our build)."""
    numbers = _at_every_byte(data, np.uint32, 4)
    if len(numbers) < 8:
        return
    heads, infos = numbers[:-4], numbers[4:]
    yield from _within_rows(data, heads, infos)
    yield from _beside_rows(data, heads)


def _within_rows(data: bytes, heads: np.ndarray, infos: np.ndarray) -> Iterator[bytes]:
    """A header of four bytes that says *compressed*, the size and method of the value, the stream (varatt.h)."""
    sizes, values = heads >> 2, infos & 0x3FFFFFFF
    fits = (heads & 3 == 2) & (sizes > 12) & (sizes <= LONGEST_DATUM) & (infos >> 30 == 0)
    for place in np.flatnonzero(fits & _is_saving(sizes - 8, values)).tolist():
        end = place + int(sizes[place])
        if end <= len(data) and (value := pglz(data[place + 8 : end], int(values[place]))) is not None:
            yield value


def _beside_rows(data: bytes, heads: np.ndarray) -> Iterator[bytes]:
    """Pieces of values, (number of the value, number of the piece, bytes), put together again."""
    here, values, numbers, infos = heads[8:-4], heads[:-12], heads[4:-8], heads[12:]
    sizes = here >> 2
    is_piece = (here & 3 == 0) & (sizes > 8) & (sizes <= CHUNK + 4) & (values >= FIRST_OID) & (numbers < MOST_PIECES)
    begins = is_piece & (numbers == 0) & (infos >> 30 == 0) & _is_saving(sizes - 8, infos)
    begins |= is_piece & (numbers == 0) & (sizes == CHUNK + 4) & (infos > sizes) & (infos < LONGEST_VALUE)
    places = np.flatnonzero(is_piece)
    for first in np.flatnonzero(begins).tolist():
        own = places[values[places] == values[first]].tolist() if sizes[first] == CHUNK + 4 else [first]
        parts = {int(numbers[at]): data[at + 12 : at + 8 + int(sizes[at])] for at in reversed(own)}
        stream = b"".join(parts.get(number, b"") for number in range(max(parts) + 1))
        yield pglz(stream[4:], int(infos[first]), whole=False) or b""


def _is_saving(sizes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Whether a stream of some size can be that of a value: it has to save a quarter, and cannot save everything."""
    return (values < LONGEST_VALUE) & (values // 4 * 3 >= sizes) & (values <= sizes * 100)


def pglz(stream: bytes, size: int, *, whole: bool = True) -> bytes | None:
    """A value decompressed (common/pg_lzcompress.c); None when that is not what the bytes are.

    Not `whole`: as far as it comes.
    """
    out, place = bytearray(), 0
    try:
        while place < len(stream) and len(out) < size:
            control, place = stream[place], place + 1
            for bit in range(8):
                if place < len(stream) and len(out) < size:
                    place = _item(stream, place, bool(control >> bit & 1), out)
    except (IndexError, ValueError):
        if whole:
            return None
    return None if whole and (len(out) < size or place < len(stream)) else bytes(out[:size])


def _item(stream: bytes, place: int, is_copy: bool, out: bytearray) -> int:
    """Add a byte, or a copy of earlier ones, to what is there; returns where the next item begins."""
    if not is_copy:
        out.append(stream[place])
        return place + 1
    length, back, place = (stream[place] & 15) + 3, (stream[place] & 240) << 4 | stream[place + 1], place + 2
    if length == 18:
        length, place = length + stream[place], place + 1
    if not 0 < back <= len(out):
        raise ValueError
    for _ in range(length):
        out.append(out[-back])
    return place


# -- files -------------------------------------------------------------------------------------------------------------


@dataclass
class Scan:
    """Files below some folders, seen over and over: only those that changed are read again."""

    wanted: Wanted
    seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    read_bytes: int = 0
    values: int = 0
    """Compressed values that were opened."""

    def found(self, *folders: Path, without: Path | None = None) -> dict[str, set[str]]:
        """What occurs where, by file."""
        hits = {}
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_symlink() or not path.is_file() or (without and without in path.parents):
                    continue
                try:
                    told = self._in_file(path)
                except FileNotFoundError:  # a temporary file of a server that works
                    continue
                if told:
                    hits[str(path)] = told
        return hits

    def images(self, cluster: postgres.Cluster) -> dict[str, set[str]]:
        """What occurs in the page images of a cluster's write-ahead log, which may be compressed there."""
        log = cluster.folder / "pg_wal"
        segments = sorted(path.name for path in log.iterdir() if len(path.name) == 24)
        with TemporaryDirectory() as folder:
            subprocess.run(
                [postgres.program("pg_waldump"), "--quiet", "--path", log, "--save-fullpage", folder, segments[0]],
                capture_output=True, check=False,
            )  # fmt: skip
            # It ends with an error, where the log ends; that there are images says that it has worked.
            pages = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
        assert len(pages) > 10, "no page image was found"
        told = self._told(b"".join(pages))
        return {f"page images of {log}": told} if told else {}

    def _in_file(self, path: Path) -> set[str]:
        state = path.stat()
        if self.seen.get(path) == (state.st_mtime_ns, state.st_size):
            return set()
        self.seen[path] = (state.st_mtime_ns, state.st_size)
        data = path.read_bytes().rstrip(b"\0")  # the end of a segment that is not written yet
        told = self._told(data)
        if path.parent.name == "pg_wal":
            told |= self._told(without_headers(data))
        return told

    def _told(self, data: bytes) -> set[str]:
        self.read_bytes += len(data)
        told = self.wanted.told(data)
        for value in decompressed(data):
            self.values += 1
            told |= {f"{name}, compressed" for name in self.wanted.told(value)}
        return told


def without_headers(log: bytes) -> bytes:
    """A segment of the write-ahead log without the headers of its pages, which cut through records."""
    pages = range(0, len(log), WAL_PAGE)
    return b"".join(log[at + (HEADER if at else FIRST_HEADER) : at + WAL_PAGE] for at in pages)
