"""`governance assess`: what a table shows of the people in it, whoever made it; never a value of a row."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from governance.embedded.cli import say
from governance.errors import InputError, PolicyError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from governance.anonymisation.assessment import Assessment
    from governance.anonymisation.exposure import Reidentification, WorstClass

EXCEEDED = 1
KINDS = {
    "singling_out": "singling out",
    "singling_out_by_sensitive": "singling out, all columns",
    "linkability": "linkability",
    "inference": "inference",
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "assess", help="what a CSV or Parquet table shows of the people in it: k, l, t, and attacks; 1 if too much"
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the table as it is, or would be, published")
    parser.add_argument("--policy", required=True, metavar="P.yaml", type=Path, help="what each column is, and limits")
    parser.add_argument("--original", metavar="FILE", type=Path, help="of whom it was made; without it no attacks")
    parser.add_argument("--control", metavar="FILE", type=Path, help="people who are not in it: what anybody can guess")
    parser.add_argument("--json", action="store_true", help="all measures, for programs")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governance.anonymisation import specification
    from governance.anonymisation.assessment import Files, assess

    if not arguments.policy.is_file():
        raise PolicyError(f"{arguments.policy} is not a file")
    rules = specification.specification(arguments.policy.name, arguments.policy.read_bytes())
    how = specification.treatments(rules, lambda name: _text(arguments.policy.parent / name))
    raw = [None if path is None else _table(path, rules.published) for path in (arguments.original, arguments.control)]
    hierarchies = {name: treatment.hierarchy for name, treatment in how.items()}
    found = assess(rules, hierarchies, Files(_table(arguments.file), *raw))
    if arguments.json:
        say(json.dumps(asdict(found), indent=1))
    else:
        for line in lines(found):
            say(line)
    return EXCEEDED if found.exceeded or found.unmeasured else 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError):  # no text, or no name of a file
        raise PolicyError(f"the hierarchy {path.name} cannot be read") from None


def _table(path: Path, wanted: Collection[str] | None = None) -> pd.DataFrame:
    """A table of texts and None; of `wanted`, where they are given, the columns that it has.

    Raises InputError for what is no table.
    """
    import pandas as pd
    import pyarrow as pa

    from governance.anonymisation.tables import batches, columns_of
    from governance.anonymisation.texts import texts

    there = columns_of(path)
    if twice := len(there) - len(set(there)):
        raise InputError(f"{path.name}: {twice} columns have the name of another one")
    names = [name for name in there if wanted is None or name in wanted]
    parts = list(batches(path, names)) if names else []
    found = {}
    for name in names:
        column = pa.chunked_array([texts(_plain(part.column(name))) for part in parts], pa.string())
        values = column.to_pandas().astype(object)
        found[name] = values.where(values.notna() & (values != ""), None)
    return pd.DataFrame(found, columns=names)


def _plain(column: pa.Array) -> pa.Array:
    """A column without a dictionary: published Parquet has one."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def lines(found: Assessment) -> list[str]:
    """The report that a person reads."""
    unit = "people" if found.counts_people else "rows"
    told = [
        f"{found.rows:,} rows, {found.suppressed:,} of them wholly suppressed; {found.classes:,} classes of {unit}",
        "",
        f"{'WORST CLASS':<34} {'K':>8}  SENSITIVE COLUMN: L, ENTROPY L, T, SUREST VALUE",
        *_measures("a suppressed cell is a value", found.by_value),
        *_measures("a cell may be any of its values", found.by_compatible),
        *(_measures("a person of the original", found.by_person) if found.by_person else []),
    ]
    if found.by_person and found.by_person.unmatched:
        told.append(f"{found.by_person.unmatched:,} people of the original fit no row")
    told += ["", f"{'RE-IDENTIFICATION BY THE':<34} {'HIGHEST':>8} {'MEAN':>8}  SHARE ABOVE 1/K"]
    told.append(_reidentified("prosecutor", found.prosecutor))
    if found.journalist and found.marketer is not None:
        told += [_reidentified("journalist", found.journalist), f"{'marketer':<34} {'':>8} {found.marketer:>8.4f}"]
    if found.attacks:
        told += ["", f"{'ATTACK':<34} {'RISK':>8} {'FROM':>8} {'TO':>8} {'CHANCE':>8}  ON"]
    for one in found.attacks:
        what = f"{KINDS[one.kind]}, {one.detail}"
        bounds = f"{one.risk.value:>8.4f} {one.risk.lower:>8.4f} {one.risk.upper:>8.4f} {one.chance.value:>8.4f}"
        stated = one.attacks.stated
        few = f"; only {stated:,} predicates found" if stated is not None and stated < one.attacks.tried else ""
        told.append(f"{what:<34} {bounds}  {one.attacks.tried:,} attacks, cells {one.reading}{few}")
    told.append("")
    told += [f"TOO MUCH: {one}" for one in found.exceeded]
    told += [f"NOT MEASURED: {name}, which policy limits; give --original" for name in found.unmeasured]
    if not found.exceeded and not found.unmeasured:
        told.append("within what policy allows")
    return told


def _measures(name: str, measures: WorstClass) -> list[str]:
    """A line for k, and one more per sensitive column."""
    k = "-" if measures.k is None else f"{measures.k:,}"
    said = [
        f"{column}: {one.l}, {one.entropy_l:.2f}, {one.t:.4f}, {one.confidence:.4f}"
        for column, one in measures.sensitive.items()
    ]
    first, *others = said or [""]
    return [f"{name:<34} {k:>8}  {first}".rstrip(), *(f"{'':<44} {line}" for line in others)]


def _reidentified(name: str, one: Reidentification) -> str:
    return f"{name:<34} {one.highest:>8.4f} {one.mean:>8.4f}  {one.above:.4f}"
