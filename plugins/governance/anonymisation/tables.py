"""Tables in files: read in batches as text, written as CSV or Parquet, all or nothing.

CSV is comma- or semicolon-separated with a header; Parquet keeps its types until they are read as text. What is written
lies beside its place until it is complete, and is one run's alone.
"""

from __future__ import annotations

import codecs
import csv
import fcntl
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from governance.errors import ContendedError, InputError

if TYPE_CHECKING:
    from governance.anonymisation.labelling import Column, Lines

BLOCK_BYTES = 4 << 20
BATCH_ROWS = 65_536
ROWS_AT_ONCE = 1 << 20

COMPLAINTS = {  # of Arrow, whose own messages quote the line
    "CSV parse error: Empty": "has no rows",
    "CSV parse error": "has a line that does not fit its header",
    "straddling object": f"has a line of more than {BLOCK_BYTES >> 20} MB",
    "UTF8": "has text that is not UTF-8",
}


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns. Raises InputError when it is no table."""
    if not path.is_file():
        raise InputError(f"{path.name} is no file that can be read")
    try:
        if path.suffix == ".parquet":
            return list(pyarrow.parquet.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            names = next(csv.reader(lines, delimiter=_separator(path)), [])
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path.name} is no table that can be read: CSV in UTF-8 with a header, or Parquet") from None
    if not names:
        raise InputError(f"{path.name} is empty: it has no header")
    return names


def rows_expected(path: Path) -> int:
    """About how many rows a table has: Parquet says it, of CSV the length of its first lines does; 0: not known."""
    if path.suffix == ".parquet":
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    with path.open("rb") as file:
        first = file.read(1 << 16)
    lines = first.count(b"\n")
    return path.stat().st_size * lines // len(first) if lines > 1 else 0


def batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches of some columns of a file; those of CSV are text. Raises InputError for a line that does not fit, marks
    that do not pair up, text that is not UTF-8, and a damaged file."""
    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                    batch.validate(full=True)
                    yield batch
            return
        _require_pairs(path)
        yield from pyarrow.csv.open_csv(
            path,
            pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=_separator(path), newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                include_columns=list(columns), column_types={column: pa.string() for column in columns}
            ),
        )
    except pa.ArrowInvalid as error:
        said = str(error)
        complaint = next((words for sign, words in COMPLAINTS.items() if sign in said), "cannot be read")
        row = re.match(r"CSV parse error: (Row #\d+)", said)
        raise InputError(f"{path.name} {complaint}{f' ({row[1]})' if row else ''}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{path.name} is damaged: it cannot be read to its end") from None


def _require_pairs(path: Path) -> None:
    """Raises InputError when the quotation marks of a CSV file do not pair up; a file without any is only searched."""
    with path.open("rb") as file:
        before, part = b"", file.read(BLOCK_BYTES).removeprefix(codecs.BOM_UTF8)
        while part and b'"' not in part:
            before, part = part[-1:], file.read(BLOCK_BYTES)
        if not part:
            return
        from governance.anonymisation import quotes  # compiled, and loaded for files with marks alone

        separator = ord(_separator(path))
        where = quotes.after(np.frombuffer(before, np.uint8), quotes.START, separator)
        while part and where != quotes.WRONG:
            where = quotes.after(np.frombuffer(part, np.uint8), where, separator)
            part = file.read(BLOCK_BYTES)
    if where in (quotes.QUOTED, quotes.WRONG):
        raise InputError(f"{path.name} has a quotation mark that is never closed, or a value that goes on behind one")


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = re.sub(r'"[^"]*"', "", lines.readline())
    return ";" if header.count(";") > header.count(",") else ","


def write(path: Path, lines: Lines) -> int:
    """Write lines to a file that does not exist yet, or replace it; how many rows. On an error nothing is left.

    Raises ContendedError when another run is writing the same file.
    """
    with _draft(path) as file:
        if path.suffix == ".parquet":
            _write_parquet(file, lines)
        else:
            _write_csv(file, lines)
    return int(lines.times.sum())


@contextmanager
def _draft(path: Path) -> Iterator[BinaryIO]:
    """A file beside its place, which it takes when all went well. What a kill left of an earlier one is overwritten."""
    beside = path.with_name(f".{path.name}.part")
    with _alone(beside) as file:
        try:
            file.truncate()
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException as error:
            beside.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                raise OSError(error.errno, error.strerror or "cannot be written", str(path)) from None
            raise


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """A file that is locked, and still the one of that name: whoever had it before may have moved it away."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o666), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ContendedError(f"{path.name} is being written by another run; wait until it has ended") from None
            if _has_name(file, path):
                yield file
                return


def _has_name(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write_csv(file: BinaryIO, lines: Lines) -> None:
    nothing = b"" if len(lines.columns) > 1 else b'""'  # an empty line would be no row to who reads it
    quoted = [np.array([*map(_quoted, column.values), nothing], dtype=object) for column in lines.columns]
    file.write(b";".join(_quoted(column.name) for column in lines.columns) + b"\n")
    for begin in range(0, len(lines.times), 65_536):
        part = slice(begin, begin + 65_536)
        cells = [values[column.codes[part]] for values, column in zip(quoted, lines.columns, strict=True)]
        joined = [b";".join(line) + b"\n" for line in zip(*cells, strict=True)]
        file.write(b"".join([line * times for line, times in zip(joined, lines.times[part].tolist(), strict=True)]))


def _quoted(value: str) -> bytes:
    text, end = io.StringIO(), "\r\n"  # values that hold either of the two are quoted
    csv.writer(text, delimiter=";", lineterminator=end).writerow([value])
    return text.getvalue().removesuffix(end).encode()


def _write_parquet(file: BinaryIO, lines: Lines) -> None:
    schema = pa.schema([(column.name, pa.dictionary(pa.int32(), pa.string())) for column in lines.columns])
    ends = np.cumsum(lines.times)
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for begin in range(0, int(ends[-1]) if len(ends) else 0, ROWS_AT_ONCE):
            which = np.searchsorted(ends, np.arange(begin, min(begin + ROWS_AT_ONCE, ends[-1])), side="right")
            arrays = [_dictionary(column, which) for column in lines.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _dictionary(column: Column, which: np.ndarray) -> pa.DictionaryArray:
    codes = column.codes[which].astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(column.values, pa.string()))
