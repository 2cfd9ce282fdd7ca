"""A contract with recipients of one kind: the only columns that may be handed over, and rows as it says. Pure.

The contract is the allow-list: a column that it does not name is not handed over, whatever a frame holds. It protects
against what is in a column by its category alone: what somebody wrote into a free text is not looked at here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from governance.errors import ContractError
from governance.sharing.allowances import KindName, LogicalType
from governance.sharing.register import VERSION
from governance.sharing.texts import LONGEST
from governance.strict import Strict

Text = Annotated[str, Field(min_length=1)]

IS_OF_TYPE: Mapping[LogicalType, Callable[[pa.DataType], bool]] = MappingProxyType(
    {
        "string": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "integer": pa.types.is_signed_integer,
        "date": pa.types.is_date32,
        "timestamp": lambda kind: kind == pa.timestamp("us", "UTC"),
    }
)
"""What a column of each logical type is as Arrow has it; timestamps are microseconds of UTC."""


class ContractColumn(Strict):
    """A column as a contract names it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    logical_type: LogicalType
    is_required: bool  # never NULL; of a text: never blank either
    is_key: bool  # one of those that tell rows apart
    category: Text  # fideslang
    purpose: Text
    encoded_as: Text  # on the wire
    on_request: bool = False  # travels to those alone whose entry in the register asks for it
    pattern: str | None = None  # that every text matches (RE2)
    description: Text


class Contract(Strict):
    """One version of a contract; columns in the order in which they are handed over."""

    kind: KindName
    version: Annotated[str, Field(pattern=VERSION)]
    purpose: Text
    lawful_basis: Annotated[tuple[Text, ...], Field(min_length=1)]
    columns: Annotated[tuple[ContractColumn, ...], Field(min_length=1)]
    digest: str  # SHA-256 of its file

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return self

    @property
    def label(self) -> str:
        """`contract health_provider 1.0.0`, for messages."""
        return f"contract {self.kind} {self.version}"

    def travelling(self, asked: Collection[str] = ()) -> tuple[ContractColumn, ...]:
        """The columns that go to a recipient who asks for these on request. Raises ContractError for any other."""
        optional = {column.name for column in self.columns if column.on_request}
        strange = sorted(set(asked) - optional)
        if strange:
            known = ", ".join(sorted(optional)) or "none"
            raise ContractError(
                f"{self.label}: {', '.join(strange)} cannot be asked for, it has {known} on request; correct the "
                "recipient's options in the register"
            )
        return tuple(column for column in self.columns if not column.on_request or column.name in asked)


# -- rows --------------------------------------------------------------------------------------------------------------


def projected(contract: Contract, rows: pd.DataFrame, asked: Collection[str] = ()) -> pd.DataFrame:
    """The contract's columns of these rows, in its order; `asked`: those on request that the recipient asks for.

    No rows are no error, and no success: the caller tells `no_data`. Raises ContractError for a column that is missing,
    that is there twice or of another type, for a required one that is NULL or blank, for texts that are not as agreed,
    and for rows that stand there twice (GDPR Art. 5(1)(c), 25).
    """
    columns = _arrays(contract, rows, asked)
    for column, array in columns.items():
        with _named(contract, column):
            _require(column, array)
    twice = _twice(columns)
    if twice:
        raise ContractError(f"{contract.label}: {twice} of {len(rows)} rows stand there twice; nothing was handed over")
    return rows[[column.name for column in columns]]


def incomplete(contract: Contract, rows: pd.DataFrame, asked: Collection[str] = ()) -> np.ndarray:
    """Of each row whether a required column is NULL or blank, so that the others need not wait for it; bool.

    Raises ContractError as `projected` does, but for that.
    """
    found = np.zeros(len(rows), dtype=np.bool_)
    for column, array in _arrays(contract, rows, asked).items():
        if column.is_required:
            found |= _missing(column, array).to_numpy(zero_copy_only=False)
    return found


def unfit(contract: Contract, rows: pd.DataFrame, asked: Collection[str] = ()) -> np.ndarray:
    """Of each row whether it could not be written as agreed, so that the others need not wait for it: a text of another
    form, or longer than any format takes; or a row that stands there twice, as both say who it is; bool.

    Raises ContractError as `projected` does, but for that.
    """
    columns = _arrays(contract, rows, asked)
    found = np.zeros(len(rows), dtype=np.bool_)
    if _twice(columns):
        found |= rows.duplicated([column.name for column in columns if column.is_key], keep=False).to_numpy()
    for column, array in columns.items():
        if column.logical_type == "string":
            strange = pc.greater(pc.utf8_length(array.cast(pa.large_string())), LONGEST)
            if column.pattern and array.type != pa.null():
                strange = pc.or_(strange, pc.invert(pc.match_substring_regex(array, column.pattern)))
            found |= pc.fill_null(strange, False).to_numpy(zero_copy_only=False)
    return found


def _twice(columns: Mapping[ContractColumn, pa.Array]) -> int:
    """How many rows have a key that another row had before; none where nothing tells rows apart."""
    keys = {column.name: array for column, array in columns.items() if column.is_key}
    if not keys:
        return 0
    table = pa.table(keys)
    return int(table.num_rows - table.group_by(list(keys)).aggregate([]).num_rows)


class _UnfitError(ContractError):
    """A column is not what the contract says; says so without its name."""


@contextmanager
def _named(contract: Contract, column: ContractColumn) -> Iterator[None]:
    try:
        yield
    except _UnfitError as problem:
        raise ContractError(f"{contract.label}, column {column.name}: {problem}; nothing was handed over") from None


def _require(column: ContractColumn, array: pa.Array) -> None:
    """Raise _UnfitError for values that are missing or not of the form that is agreed; tells how many, and none."""
    missing = pc.sum(_missing(column, array)).as_py() or 0
    if column.is_required and missing:
        raise _UnfitError(f"required, and NULL or blank in {missing} of {len(array)} rows")
    if column.pattern and array.type != pa.null():
        strange = pc.sum(pc.invert(pc.match_substring_regex(array, column.pattern))).as_py() or 0
        if strange:
            raise _UnfitError(f"not of the form that is agreed in {strange} of {len(array)} rows")


def _arrays(contract: Contract, rows: pd.DataFrame, asked: Collection[str]) -> dict[ContractColumn, pa.Array]:
    """The columns that travel, each as Arrow has it. Raises ContractError."""
    names, found = Counter(rows.columns), {}
    for column in contract.travelling(asked):
        with _named(contract, column):
            if names[column.name] != 1:
                raise _UnfitError(f"is {'there twice' if names[column.name] else 'missing'} in what was offered")
            found[column] = _array(column, rows[column.name])
    return found


def _array(column: ContractColumn, values: pd.Series[Any]) -> pa.Array:
    """A column as Arrow has it, of its type; of type null where it holds nothing. Raises _UnfitError."""
    try:
        array = pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # which quote values
        raise _UnfitError(
            f"holds values of several types or of none that is known, not {column.logical_type}"
        ) from None
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if array.type != pa.null() and not IS_OF_TYPE[column.logical_type](array.type):
        raise _UnfitError(f"is {array.type}, not {column.logical_type}")
    return array


def _missing(column: ContractColumn, array: pa.Array) -> pa.Array:
    """Of each value whether it is NULL, or a text that is blank."""
    missing = pc.is_null(array)
    if column.logical_type == "string" and array.type != pa.null():
        missing = pc.or_(missing, pc.fill_null(pc.equal(pc.utf8_trim_whitespace(array), ""), False))
    return missing


# -- versions ----------------------------------------------------------------------------------------------------------


def numbers(version: str) -> tuple[int, ...]:
    """A version, to be compared: 1.10.0 comes after 1.9.0.

    >>> numbers("1.10.0") > numbers("1.9.0")
    True
    """
    return tuple(map(int, version.split(".")))


def broken(before: Contract, after: Contract) -> Iterator[str]:
    """What of a contract another one would break for whoever reads by the first, in words."""
    new = {column.name: column for column in after.columns}
    for column in before.columns:
        if column.name not in new:
            yield f"{column.name} is removed, or renamed"
            continue
        yield from _changed(column, new[column.name])
    if before.purpose != after.purpose or before.lawful_basis != after.lawful_basis:
        yield "it rests on another purpose or lawful basis"
    if [column.name for column in before.columns if column.is_key] != [c.name for c in after.columns if c.is_key]:
        yield "rows are told apart by other columns"


def _changed(before: ContractColumn, after: ContractColumn) -> Iterator[str]:
    changes = {
        f"is {after.logical_type}, was {before.logical_type}": before.logical_type != after.logical_type,
        f"is of category {after.category}, was {before.category}": before.category != after.category,
        "is newly required": after.is_required and not before.is_required,
        "may be missing, and was required": before.is_required and not after.is_required,
        "is encoded in another way": before.encoded_as != after.encoded_as,
        "is of another form": before.pattern != after.pattern,
        "travels to others than before": before.on_request != after.on_request,
    }
    yield from (f"{before.name} {change}" for change, found in changes.items() if found)


def unsound_successor(before: Contract, after: Contract) -> list[str]:
    """Why a version may not follow another one, in words: what breaks needs a new first number, what is added a new
    second one, and words a new third one (E29).
    """
    old, new = numbers(before.version), numbers(after.version)
    if new <= old:
        return [f"{after.version} does not come after {before.version}"]
    added = {column.name for column in after.columns} - {column.name for column in before.columns}
    if new[0] > old[0]:
        return []
    found = [f"{problem}: that needs version {old[0] + 1}.0.0" for problem in broken(before, after)]
    if added and new[1] == old[1]:
        found += [f"{', '.join(sorted(added))} is added: that needs version {old[0]}.{old[1] + 1}.0"]
    return found
