"""Tables in files: read in batches as text, written as CSV or Parquet, all or nothing.

CSV is comma- or semicolon-separated with a header; Parquet keeps its types until they are read as text. What is written
lies beside its place until it is complete.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from governance.anonymisation.labelling import Column, Lines
from governance.errors import InputError

BLOCK_BYTES = 4 << 20
BATCH_ROWS = 65_536
ROWS_AT_ONCE = 1 << 20


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns. Raises InputError when it is no table."""
    if not path.is_file():
        raise InputError(f"{path.name} is no file that can be read")
    try:
        if path.suffix == ".parquet":
            return list(pyarrow.parquet.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            names = next(csv.reader([lines.readline()], delimiter=_separator(path)), [])
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path.name} is no table that can be read: CSV in UTF-8 with a header, or Parquet") from None
    if not names:
        raise InputError(f"{path.name} is empty: it has no header")
    return names


def batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches of some columns of a file; those of CSV are text. Raises InputError for a line that does not fit."""
    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False)
            return
        reader = pyarrow.csv.open_csv(
            path,
            pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=_separator(path), newlines_in_values=False),
            pyarrow.csv.ConvertOptions(
                include_columns=list(columns), column_types={column: pa.string() for column in columns}
            ),
        )
        yield from reader
    except pa.ArrowInvalid as error:
        where = str(error).split(":")[1].strip() if "CSV parse error" in str(error) else ""
        raise InputError(f"{path.name} has a line that does not fit its header ({where.split(' got')[0]})") from None


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline()
    return ";" if header.count(";") > header.count(",") else ","


def write(path: Path, lines: Lines) -> int:
    """Write lines to a file that does not exist yet, or replace it; how many rows. On an error nothing is left."""
    beside = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".parquet":
            _write_parquet(beside, lines)
        else:
            _write_csv(beside, lines)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return int(lines.times.sum())


def _write_csv(path: Path, lines: Lines) -> None:
    quoted = [np.array([*map(_quoted, column.values), b""], dtype=object) for column in lines.columns]
    with path.open("wb") as file:
        file.write(b";".join(_quoted(column.name) for column in lines.columns) + b"\n")
        for begin in range(0, len(lines.times), 65_536):
            part = slice(begin, begin + 65_536)
            cells = [values[column.codes[part]] for values, column in zip(quoted, lines.columns, strict=True)]
            joined = [b";".join(line) + b"\n" for line in zip(*cells, strict=True)]
            file.write(b"".join([line * times for line, times in zip(joined, lines.times[part].tolist(), strict=True)]))


def _quoted(value: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="").writerow([value])
    return text.getvalue().encode()


def _write_parquet(path: Path, lines: Lines) -> None:
    schema = pa.schema([(column.name, pa.dictionary(pa.int32(), pa.string())) for column in lines.columns])
    ends = np.cumsum(lines.times)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for begin in range(0, int(ends[-1]) if len(ends) else 0, ROWS_AT_ONCE):
            which = np.searchsorted(ends, np.arange(begin, min(begin + ROWS_AT_ONCE, ends[-1])), side="right")
            arrays = [_dictionary(column, which) for column in lines.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _dictionary(column: Column, which: np.ndarray) -> pa.DictionaryArray:
    codes = column.codes[which].astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(column.values, pa.string()))
