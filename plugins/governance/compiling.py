"""`python -m governance.compiling`: compile the anonymiser's hot loops now, at installation, for every later process.

Small tables go through it, one for each way that compiled code is called; what that compiles is kept beside the source
(`anonymisation.compiled` says where, and what happens where that cannot be written). Nothing here is needed: without it
the first process that anonymises compiles for itself.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

ROWS = 2400  # so many that the tables of a census grow
NUMBERS: dict[str, Any] = {"role": "quasi_identifier", "hierarchy": {"numbers": {"widths": [5, 20]}}}
WAYS: tuple[dict[str, Any], ...] = (
    {"protection": {"k": 3}, "columns": {}},
    {"protection": {"k": 3, "l": 2, "entropy_l": 1.5}, "columns": {"who": {"role": "person"}}},
    {"protection": {"k": 3, "t": 0.5}, "columns": {}},
    {"protection": {"k": 3, "t": 0.5, "ordered": {"job": ["0", "1", "2"]}}, "columns": {}},
)


def main() -> None:
    """Compile, and remove what earlier versions of the source left."""
    from governance.anonymisation import compiled, engine
    from governance.anonymisation.specification import Specification

    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in.csv"
        lines = (f"{at * 7 % 60},{at % 60},{at // 2},{at % 3}" for at in range(ROWS))
        source.write_text("\n".join(('"age",height,who,job', *lines)))  # marks, so that these are compiled too
        for way in WAYS:
            columns = {
                "age": NUMBERS, "height": NUMBERS | {"exact": True}, "job": {"role": "sensitive"},
                "who": {"role": "withhold"}, **way["columns"],
            }  # fmt: skip
            rules = Specification.model_validate(way | {"version": 1, "columns": columns})
            engine.prepared(source, rules, source.parent, engine.Manner(steps=2048))
    two_days()
    for older in compiled.others():
        shutil.rmtree(older, ignore_errors=True)


def two_days() -> None:
    """Releases of two days, on the second of which people come again."""
    import numpy as np

    from governance.anonymisation.daily import Pool, Rules, Terms, release
    from governance.anonymisation.domains import Treatment, domain
    from governance.anonymisation.hierarchies import numbers
    from governance.anonymisation.recoding import Protection
    from governance.anonymisation.signatures import nobody

    row = np.arange(120)
    line, _ = domain("x", list(map(str, range(60))), np.ones(60), Treatment(numbers("x", [5, 20])))
    rules = Rules((line, line), {"job": ("0", "1", "2")}, Protection(3, 2), Terms(worth=60.0, steps=5))
    codes, values = np.column_stack([row % 60, row // 2]).astype(np.int32), (row[:, None] % 3).astype(np.int32)
    pool = Pool(row.astype(np.uint64), row.astype(np.uint64), codes, values, np.zeros(row.size, dtype=np.int64))
    known = release(pool, nobody(rules.widths), rules, rules.terms.delay, 1).remembered
    again = Pool(
        pool.row, np.where(row < 10, pool.person, pool.person + 1000).astype(np.uint64), codes, values, pool.day
    )
    release(again, known, rules, rules.terms.delay, 1)


if __name__ == "__main__":
    main()
