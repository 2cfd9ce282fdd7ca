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
    for older in compiled.others():
        shutil.rmtree(older, ignore_errors=True)


if __name__ == "__main__":
    main()
