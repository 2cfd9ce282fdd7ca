"""`governance anonymise`: a table that may be published, made of one that may not; never a value of a row elsewhere."""

from __future__ import annotations

import argparse
import json
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.embedded.cli import say
from governance.errors import InputError, PolicyError

if TYPE_CHECKING:
    from governance.anonymisation.engine import Result
    from governance.anonymisation.specification import Specification

WIDTH = 30  # of the progress bar
SECONDS = 0.1  # between two pictures of it
TYPES = (".csv", ".parquet")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "anonymise", help="make of a CSV or Parquet table one that holds what a policy asks for: k, l, t; or nothing"
    )
    parser.add_argument("source", metavar="IN", type=Path, help="the table, .csv or .parquet")
    parser.add_argument("target", metavar="OUT", type=Path, help="what is published of it, .csv or .parquet; replaced")
    parser.add_argument("--policy", required=True, metavar="P.yaml", type=Path, help="what each column is, and k, l, t")
    parser.add_argument("--labels", action="store_true", help="a column with labels, instead of one per level")
    parser.add_argument("--effort", type=int, metavar="N", help="steps of the search, instead of the policy's")
    parser.add_argument(
        "--seed-file",
        metavar="FILE",
        type=Path,
        help="keep the secret seed there, mode 0600, or take it from there: the same table then becomes the same again",
    )
    parser.add_argument("--json", action="store_true", help="the report, for programs")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from governance.anonymisation import specification
    from governance.anonymisation.engine import Manner, prepared
    from governance.anonymisation.tables import write

    _require_files(arguments)
    if arguments.effort is not None and not 0 <= arguments.effort <= specification.MOST_STEPS:
        raise InputError(f"--effort is a number of steps, 0 to {specification.MOST_STEPS:,}")
    rules = specification.specification(arguments.policy.name, arguments.policy.read_bytes())
    seed = None if arguments.seed_file is None else _seed(arguments.seed_file, rules)
    bar = _Bar()
    try:
        how = Manner(arguments.labels, arguments.effort, seed, bar.told)
        result = prepared(arguments.source, rules, arguments.policy.parent, how)
        bar.told("writing", 0, 0)
        with _kept(arguments.seed_file, seed):
            write(arguments.target, result.lines)
    finally:
        bar.end()
    if arguments.json:
        say(json.dumps(figures(result), indent=1))
    else:
        for line in lines(result, rules):
            say(line)
    return 0


def _require_files(arguments: argparse.Namespace) -> None:
    """Raises InputError or PolicyError before anything is read."""
    if not arguments.policy.is_file():
        raise PolicyError(f"{arguments.policy} is not a file")
    for path in (arguments.source, arguments.target):
        if path.suffix not in TYPES:
            raise InputError(f"{path.name}: the name of a table ends in {' or '.join(TYPES)}")
    if not arguments.target.parent.is_dir():
        raise InputError(f"{arguments.target.parent} is no folder")
    if arguments.target.exists() and not arguments.target.is_file():
        raise InputError(f"{arguments.target.name} is a folder, a device or a pipe: OUT is a file, new or replaced")
    if arguments.target.exists() and arguments.source.exists() and arguments.target.samefile(arguments.source):
        raise InputError("OUT is IN: a table never takes the place of the one that it was made of")
    if arguments.seed_file is not None and arguments.seed_file.resolve() == arguments.target.resolve():
        raise InputError("--seed-file is OUT: the table would take the place of its seed")


# -- the seed ----------------------------------------------------------------------------------------------------------


def _seed(path: Path, rules: Specification) -> int:
    """The seed that a file keeps, or a fresh one for a file that is not there yet.

    Raises InputError for a file that others may read, that holds no seed, or that a public seed would go before.
    """
    from governance.anonymisation.engine import SEED_BITS

    if rules.effort.public_seed is not None:
        raise InputError("policy names a public seed, which goes before any secret one: leave out one of the two")
    if not path.exists():
        return secrets.randbits(SEED_BITS)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(f"{path.name}: others may read it, and who knows the seed can rebuild the classes; chmod 600")
    text = path.read_bytes().strip()
    if not text.isdigit() or len(text) > SEED_BITS or int(text) >= 2**SEED_BITS:
        raise InputError(f"{path.name} holds no seed of this command")
    return int(text)


@contextmanager
def _kept(path: Path | None, seed: int | None) -> Iterator[None]:
    """Keep a fresh seed before anything is published that it made, and only then."""
    from governance import private_files

    is_new = path is not None and not path.exists()
    if path is not None and is_new:
        private_files.write(path, f"{seed}\n", replace=False)
    try:
        yield
    except BaseException:
        if path is not None and is_new:
            path.unlink(missing_ok=True)
        raise


# -- what a person sees ------------------------------------------------------------------------------------------------


class _Bar:
    """Progress on standard error: a bar on a terminal, else a line for each thing that is done."""

    def __init__(self) -> None:
        self._doing, self._drawn, self._is_terminal = "", 0.0, sys.stderr.isatty()

    def told(self, what: str, done: int, of: int) -> None:
        """What is being done, and how far it is; `of` 0: not known."""
        now = time.monotonic()
        is_new = what != self._doing
        if not self._is_terminal:
            if is_new:
                sys.stderr.write(f"{what}\n")
        elif is_new or now - self._drawn >= SECONDS:
            share = min(done / of, 1.0) if of else 0.0
            full = int(share * WIDTH)
            percent = f" {share:4.0%}" if of else ""
            sys.stderr.write(f"\r\x1b[K{what:<10} {'#' * full}{'.' * (WIDTH - full)}{percent}")
            self._drawn = now
        self._doing = what
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line clean."""
        if self._is_terminal and self._doing:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def figures(result: Result) -> dict[str, Any]:
    """The report for programs: counts and shares alone."""
    queries = asdict(result.queries) if result.queries else None
    return {
        "rows": result.rows, "people": result.people, "suppressed": result.suppressed,
        "ncp": result.ncp, "measures": asdict(result.measures), "queries": queries,
        "columns": {name: asdict(lost) for name, lost in result.lost.items()},
    }  # fmt: skip


def lines(result: Result, rules: Specification) -> list[str]:
    """The report that a person reads."""
    asked, measures = rules.protection, result.measures
    told = [
        f"{result.rows:,} rows of {result.people:,} people in {measures.classes:,} classes; "
        f"{result.suppressed:,} rows say nothing in any quasi-identifier",
        "",
        f"{'HELD':<44} {'MEASURED':>9} {'ASKED':>7}",
        f"{'k, people of the smallest class':<44} {measures.k:>9,} {asked.k:>7,}",
    ]
    if rules.of_role("sensitive"):
        t = "" if asked.t is None else f"{asked.t:g}"
        told += [
            f"{'l, distinct values of the poorest class':<44} {measures.l:>9,} {asked.l:>7,}",
            f"{'l by entropy':<44} {measures.entropy_l:>9.2f} {asked.entropy_l:>7g}",
            f"{'t, farthest class from the whole table':<44} {measures.t:>9.4f} {t:>7}".rstrip(),
            f"{'share of the surest value in a class':<44} {measures.most_sure:>9.4f}",
        ]
    told += ["", f"{'LOST':<44} {'NCP':>9}   FINEST LEVEL, SHARE OF ROWS"]
    for name, lost in result.lost.items():
        levels = ", ".join(f"{level} {count / result.rows:.1%}" for level, count in lost.finest.items() if count)
        told.append(f"{_named(name):<44} {lost.ncp:>9.4f}   {levels}")
    told.append(f"{'all quasi-identifiers (0: nothing, 1: all)':<44} {result.ncp:>9.4f}")
    if result.queries:
        told += [
            "",
            f"{result.queries.asked} sample count queries: median error {result.queries.median:.2%}, mean "
            f"{result.queries.mean:.2%}",
        ]
    if kept := rules.of_role("keep"):
        told.append(f"published as they are, and outside of k, l and t: {', '.join(map(_named, kept))}")
    if withheld := rules.of_role("withhold") + rules.of_role("person"):
        told.append(f"not published: {', '.join(map(_named, withheld))}")
    return told


def _named(name: str) -> str:
    from governance.errors import shown

    return shown(name, 40)
