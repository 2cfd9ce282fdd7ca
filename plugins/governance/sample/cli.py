"""The commands that fill the source: sample, import."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from governance.errors import InputError

# What loads numpy and Arrow is imported where it is used, so that `governance --help` answers at once.
if TYPE_CHECKING:
    from governance.sample.load import Loaded

_TROUBLES = "planted_troubles"
_EARLIEST_YEAR = 2001


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `run`, a function from the parsed arguments to an exit code."""
    sample = subparsers.add_parser(
        "sample",
        help="fill the source with synthetic people, or add the days since",
        description="Fill the source with synthetic people. The same seed and end date give the same rows. Run again "
        "with the same counts and a later --until, it adds the days since, at the same daily rate.",
    )
    sample.add_argument("--bookings", type=_count, default=15_000, metavar="N", help="at least N bookings (15000)")
    sample.add_argument("--visits", type=_count, default=150_000, metavar="M", help="at least M page views (150000)")
    sample.add_argument("--days", type=_count, default=7, metavar="D", help="over D recording days (7)")
    sample.set_defaults(run=_sample)
    importing = subparsers.add_parser(
        "import",
        help="replay the public hotel bookings and an access log into the source",
        description="Replay real history in its own order over the seven recording days that end at --until. People, "
        "contacts, cards and consents, which such files lack, are synthetic. Malformed lines are counted by reason.",
    )
    importing.add_argument("--bookings", type=Path, required=True, metavar="FILE", help="hotel bookings, CSV or CSV.gz")
    importing.add_argument(
        "--access-log", type=Path, required=True, metavar="FILE", help="requests in Combined Log Format, plain or gzip"
    )
    importing.set_defaults(run=_import)
    for parser in (sample, importing):
        parser.add_argument("--seed", type=_count, default=1, metavar="S", help="seed of all that is invented (1)")
        parser.add_argument(
            "--until", type=_day, default=None, metavar="YYYY-MM-DD", help="last recording day (yesterday in Stockholm)"
        )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("a number from 0")
    return number


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("a day as YYYY-MM-DD") from error


def _dsn() -> str:
    from governance.embedded import site

    return site.load().dsn("wellbe_owner")


def _until(arguments: argparse.Namespace, now: datetime) -> date:
    yesterday = now.astimezone(ZoneInfo("Europe/Stockholm")).date() - timedelta(days=1)
    if arguments.until is not None and arguments.until.year < _EARLIEST_YEAR:
        raise InputError(f"A sample begins in {_EARLIEST_YEAR} or later: give a later --until.")
    return yesterday if arguments.until is None else arguments.until


def _sample(arguments: argparse.Namespace) -> int:
    from governance.sample.generator import generate

    now = datetime.now(UTC)
    loaded = generate(
        _dsn(),
        bookings=arguments.bookings,
        visits=arguments.visits,
        days=arguments.days,
        seed=arguments.seed,
        until=_until(arguments, now),
        now=now,
        progress=_progress,
    )
    _say(loaded)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from governance.sample.importer import import_files

    now = datetime.now(UTC)
    loaded = import_files(
        _dsn(),
        bookings_csv=arguments.bookings,
        access_log=arguments.access_log,
        seed=arguments.seed,
        until=_until(arguments, now),
        now=now,
        progress=_progress,
    )
    _say(loaded)
    return 0


def _progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        ending = "\n" if done == of else ""
        print(f"\r  loading {what}  {done}/{of} ", end=ending, file=sys.stderr, flush=True)  # noqa: T201


def _say(loaded: Loaded) -> None:
    for line in table(loaded):
        print(line)  # noqa: T201


def table(loaded: Loaded) -> list[str]:
    """Return what a person wants to read about a load, line by line."""
    lines = [
        f"Source, {loaded.origin}: {loaded.first_day} to {loaded.last_day}",
        f"{'TABLE':<22}{'ROWS':>12}{'ADDED':>12}",
    ]
    for name in sorted(loaded.counts):
        if name != _TROUBLES:
            lines.append(f"{name:<22}{loaded.counts[name]:>12,}{loaded.added.get(name, 0):>12,}")
    planted = sum(loaded.planted.values())
    lines.append(
        f"{planted:,} troubles of {len(loaded.planted)} kinds were planted on purpose; the manifest names each."
    )
    for name, read in sorted(loaded.lines_read.items()):
        reasons = loaded.malformed.get(name, {})
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(
            f"{name}: {read:,} lines read, {sum(reasons.values()):,} malformed" + (f" ({told})" if told else "")
        )
    return lines
