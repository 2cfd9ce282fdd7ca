"""Cells of a grid over the globe, by codes that can be cut short: a shorter code is a larger cell (policy clause B2).
Pure.

The finest cells are those of `web.grid`: a code says nothing that the two coarsened coordinates do not say. They are
laid, from 90 degrees south and 180 degrees west, into a square whose side is the finest cell's, doubled until the
globe fits in; each digit picks a quarter of the square before it (0 south-west, 1 south-east, 2 north-west, 3
north-east). With cells of 0.5 degrees a code has ten digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from governance.errors import GovernanceError
from governance.web import grid

CODE = re.compile(r"[0-3]+")


@dataclass(frozen=True)
class Cell:
    """A square of the grid: its south-western corner and the length of its sides, in degrees."""

    south: float
    west: float
    degrees: float


def digits(degrees: float) -> int:
    """How many digits the code of a finest cell has.

    >>> digits(0.5), digits(90)
    (10, 2)
    """
    return int(np.ceil(np.log2(round(360 / degrees, 9))))


def cells(latitudes: pa.Array, longitudes: pa.Array, degrees: float) -> pa.Array:
    """The code of the cell of each position: a string array of length n, NULL where a coordinate is missing, not finite
    or out of range.

    Double arrays of length n in. Raises `GovernanceError` as `web.grid`.

    >>> cells(pa.array([59.3293, 59.0, None]), pa.array([18.0686, 200.0, 18.0]), 0.5).to_pylist()
    ['0310203120', None, None]
    """
    places = []
    for values, farthest in ((latitudes, 90.0), (longitudes, 180.0)):
        centres = grid(values, degrees).to_numpy(zero_copy_only=False)
        inside = np.isfinite(centres) & (np.abs(centres) < farthest)
        places.append(
            (np.where(inside, np.floor((np.nan_to_num(centres) + farthest) / degrees), 0).astype(int), inside)
        )
    (north, has_north), (east, has_east) = places
    known = has_north & has_east
    codes = np.full(len(known), "", dtype=f"U{digits(degrees)}")
    for bit in reversed(range(digits(degrees))):
        quarter = 2 * (north >> bit & 1) + (east >> bit & 1)
        codes = np.char.add(codes, quarter.astype("U1"))
    return pa.array(codes.tolist(), pa.string(), mask=~known)


def cell(code: str, degrees: float) -> Cell:
    """The cell of a code. Raises GovernanceError for what is none, without naming it.

    >>> cell("0310203120", 0.5), cell("03", 0.5)
    (Cell(south=59.0, west=18.0, degrees=0.5), Cell(south=38.0, west=-52.0, degrees=128.0))
    """
    if not CODE.fullmatch(code) or len(code) > digits(degrees):
        raise GovernanceError("a code of a cell of the grid is none: digits 0 to 3, no more than the grid has levels")
    side = degrees * 2 ** digits(degrees)
    south, west = -90.0, -180.0
    for digit in code:
        side /= 2
        south += side * (int(digit) // 2)
        west += side * (int(digit) % 2)
    return Cell(south, west, side)
