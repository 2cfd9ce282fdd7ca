"""`governance releases`: what was published, how two releases differ, a release as a file, and how they went over time.

Reads as the analyst does, and what the run log says of publications as the auditor does; never a personal zone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2.extensions
import yaml

from governance import analytics_contract, log_entries, patience, published_tables, release_report, released
from governance import policy as policies
from governance.commands.reading import AWAY, day
from governance.database import translated
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.embedded.site import Site
from governance.errors import InputError, PolicyError, WarehouseUnavailableError
from governance.policy import Policy
from governance.published_tables import PublishedTable
from governance.release_comparison import compared

ANALYST, AUDITOR = "analyst", "auditor"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("releases", help="what was published: list, show, diff, export, report, contract")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="every release, with its risk figures and its digest")
    listed.add_argument("--dataset", help="only this dataset")
    listed.set_defaults(run=_list)
    show = actions.add_parser("show", help="one release: measures, rows, suppressed, digest, settings, notes, bias")
    _of_release(show, "partition")
    show.set_defaults(run=_show)
    diff = actions.add_parser("diff", help="two releases compared in measures, settings and counts of one column each")
    _of_release(diff, "before", "after")
    diff.set_defaults(run=_diff)
    for action in (listed, show, diff):
        action.add_argument("--json", action="store_true", help="one JSON document")
    export = actions.add_parser("export", help="a release as Parquet, with its risk figures in the file's metadata")
    _of_release(export, "partition")
    export.add_argument("file", metavar="FILE.parquet", type=Path, help="must not be there yet")
    export.add_argument("--table", help="which table, where the dataset publishes several; else that of its name")
    export.set_defaults(run=_export)
    report = actions.add_parser("report", help="k, l, loss, delay and held rows over time, as one page")
    report.add_argument("file", metavar="FILE.html", type=Path, help="written anew")
    report.set_defaults(run=_report)
    contract = actions.add_parser("contract", help="write the contract with analysts anew, from policy")
    contract.add_argument("file", metavar="FILE.yaml", type=Path, help="the contract as it is; it may not be broken")
    contract.set_defaults(run=_contract)


def _of_release(parser: argparse.ArgumentParser, *days: str) -> None:
    parser.add_argument("dataset", help="bookings, visits ...")
    for name in days:
        parser.add_argument(name, metavar=name.upper(), type=day, help="a released day, YYYY-MM-DD")


@contextmanager
def _reading(site: Site) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor as the analyst. Raises WarehouseUnavailableError when there is no server."""
    try:
        with (
            translated(),
            closing(patience.connect(site.dsn(ANALYST), connect_timeout=5)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            yield cursor
    except WarehouseUnavailableError:
        raise WarehouseUnavailableError(AWAY) from None


def _policy(site: Site) -> Policy:
    return policies.load(site=site.policy_path)


def _tables(policy: Policy, dataset: str) -> tuple[PublishedTable, ...]:
    return published_tables.of_dataset(policy.dataset(dataset))


def _release(cursor: psycopg2.extensions.cursor, policy: Policy, dataset: str, of: date) -> dict[str, Any]:
    """One release with the digests of its tables. Raises InputError when there is none."""
    policy.dataset(dataset)
    found = released.releases(cursor, dataset, of)
    if not found:
        raise InputError(f"dataset {dataset}, partition {of}: it is not released; `governance releases list`")
    return _with_digests(cursor, policy, found[0])


def _with_digests(cursor: psycopg2.extensions.cursor, policy: Policy, release: dict[str, Any]) -> dict[str, Any]:
    at = date.fromisoformat(release["partition_key"])
    known = _tables(policy, release["dataset"]) if release["dataset"] in policy.datasets else ()
    return {**release, "sha256": {table.name: released.digest(cursor, table, at) for table in known}}


# -- list, show, diff --------------------------------------------------------------------------------------------------


FIGURES = {"k": 4, "l": 4, "rows": 10, "suppressed": 10}
"""Of a release, and how wide they are shown; of noisy counts there is none."""


def _list(arguments: argparse.Namespace) -> int:
    site = sites.load()
    policy = _policy(site)
    if arguments.dataset:
        policy.dataset(arguments.dataset)
    with _reading(site) as cursor:
        found = [_with_digests(cursor, policy, each) for each in released.releases(cursor, arguments.dataset)]
    if arguments.json:
        say(json.dumps(found, sort_keys=True))
        return 0
    say(f"{'DATASET':<10} {'PARTITION':<11} {'K':>4} {'L':>4} {'ROWS':>10} {'SUPPRESSED':>10}  SHA-256 OF EACH TABLE")
    for each in found:
        digests = ", ".join(f"{table} {digest[:16]}" for table, digest in each["sha256"].items())
        figures = " ".join(f"{_or_none(each[name]):>{wide}}" for name, wide in FIGURES.items())
        say(f"{each['dataset']:<10} {each['partition_key']:<11} {figures}  {digests}")
    if not found:
        say("nothing is released")
    return 0


def _or_none(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _show(arguments: argparse.Namespace) -> int:
    site = sites.load()
    with _reading(site) as cursor:
        release = _release(cursor, _policy(site), arguments.dataset, arguments.partition)
        told: dict[str, Any] = {
            "release": release,
            "settings": released.settings(cursor, arguments.dataset, arguments.partition),
            "notes": released.told(cursor, "release_notes", arguments.dataset, arguments.partition),
            "bias": released.told(cursor, "release_bias", arguments.dataset, arguments.partition),
        }
    told["published_by"] = _entry(site, release)
    if arguments.json:
        say(json.dumps(told, sort_keys=True))
        return 0
    for name, value in release.items():
        say(f"{name:<16} {json.dumps(value) if isinstance(value, dict) else _or_none(value)}")
    for name, value in told["published_by"].items():
        say(f"{name:<16} {json.dumps(value) if isinstance(value, dict) else value}")
    for heading, line in (("settings", "{0}: {1}"), ("notes", "{told}"), ("bias", BIAS)):
        say(f"\n{heading}")
        part = told[heading]
        lines = [line.format(*each) for each in part.items()] if heading == "settings" else _lines(part, line)
        for text in lines or ["none"]:
            say(f"    {text}")
    return 0


BIAS = (
    "{dimension} {value}: {published} published, at least {missing_at_least} missing, so at most {share_at_most} of all"
)


def _lines(rows: list[dict[str, Any]], line: str) -> list[str]:
    return [line.format(**row) for row in rows]


def _entry(site: Site, release: Mapping[str, Any]) -> dict[str, Any]:
    """What the run log says of a publication; of one of counts with noise nothing that was measured exactly."""
    hidden = released.EXACT if release["rows"] is None else ()
    for entry in log_entries.published(site.dsn(AUDITOR), release["dataset"], release["partition_key"]):
        return {
            "log_entry_id": entry["entry_id"],
            "run_id": entry["run"]["run_id"],
            "policy": entry["digests"]["policy"],
            "measures": {name: value for name, value in entry["measures"].items() if name not in hidden},
        }
    return {}


def _diff(arguments: argparse.Namespace) -> int:
    site = sites.load()
    policy, days = _policy(site), (arguments.before, arguments.after)
    with _reading(site) as cursor:
        before, after = (_release(cursor, policy, arguments.dataset, of) for of in days)
        settings = [released.settings(cursor, arguments.dataset, of) for of in days]
        counts = {
            table.name: [released.marginals(cursor, table, of) for of in days]
            for table in _tables(policy, arguments.dataset)
        }
    floor = min(int(each.get("k") or policy.value("k")) for each in settings)
    found = compared((before, after), (settings[0], settings[1]), counts, floor)
    if arguments.json:
        say(json.dumps(found, sort_keys=True))
        return 0
    say(f"{'WHAT':<52} {days[0].isoformat():>14} {days[1].isoformat():>14}")
    for part in ("measures", "settings"):
        for name, (old, new) in found[part].items():
            say(f"{name:<52} {_or_none(old):>14} {_or_none(new):>14}")
    for name, values in found["counts"].items():
        for value, (old, new) in values.items():
            say(f"{f'{name} = {value}':<52} {old:>14,} {new:>14,}")
    return 0


# -- files -------------------------------------------------------------------------------------------------------------


def _export(arguments: argparse.Namespace) -> int:
    site = sites.load()
    policy = _policy(site)
    table = _chosen(_tables(policy, arguments.dataset), arguments.table)
    with _reading(site) as cursor:
        release = _release(cursor, policy, arguments.dataset, arguments.partition)
        entry = _entry(site, release)
        beside = released.beside(cursor, table, release, entry.get("measures", {}))
        if beside is None:
            raise InputError(f"{table.name} has no partition {arguments.partition}: there was no such table then")
        about = _about(beside[0], table, {**entry, "measures": beside[1]})
        with tempfile.TemporaryDirectory(dir=arguments.file.parent, prefix=".releases-") as folder:
            rows, written = Path(folder, "rows.csv"), Path(folder, "rows.parquet")
            with rows.open("wb") as file:
                released.write_csv(cursor, table, arguments.partition, file)
            count = released.write_parquet(rows, written, table, about)
            try:
                arguments.file.hardlink_to(written)  # unlike a rename, a link never takes the place of a file
            except FileExistsError:
                raise InputError(f"{arguments.file} is there already; nothing was written: name another") from None
    say(f"{count:,} rows of {table.name}, partition {arguments.partition}, are in {arguments.file}")
    return 0


def _chosen(tables: tuple[PublishedTable, ...], name: str | None) -> PublishedTable:
    """The table of that name; without one the only one, or the one that has the dataset's own name."""
    wanted = name or next((table.name for table in tables if table.name == table.dataset), None)
    found = [table for table in tables if wanted in (None, table.name)]
    if len(found) != 1:
        raise InputError(f"say with --table which one: {', '.join(table.name for table in tables)}")
    return found[0]


def _about(release: Mapping[str, Any], table: PublishedTable, entry: Mapping[str, Any]) -> dict[str, str]:
    """A Parquet file's own metadata: what somebody who has the file alone needs to know of it."""
    told = {
        "wellbe.dataset": release["dataset"],
        "wellbe.partition": release["partition_key"],
        "wellbe.table": table.name,
        "wellbe.k": release["k"],
        "wellbe.l": release["l"],
        "wellbe.suppressed": release["suppressed"],
        "wellbe.policy": release["policy_digest"],
        "wellbe.run_id": entry.get("run_id"),
        "wellbe.log_entry_id": entry.get("log_entry_id"),
        "wellbe.measures": json.dumps(entry.get("measures", {}), sort_keys=True),
        "wellbe.release_sha256": release["sha256"][table.name],
    }
    return {name: _or_none(value) for name, value in told.items()}


def _report(arguments: argparse.Namespace) -> int:
    site = sites.load()
    with _reading(site) as cursor:
        found = release_report.figures(released.releases(cursor), log_entries.published(site.dsn(AUDITOR)))
    arguments.file.write_text(release_report.page(found), "utf-8")
    say(f"{sum(map(len, found.values())):,} releases are in {arguments.file}")
    return 0


def _contract(arguments: argparse.Namespace) -> int:
    before = yaml.safe_load(arguments.file.read_text("utf-8")) if arguments.file.exists() else None
    now = analytics_contract.contract(policies.load())
    if before and (gone := analytics_contract.broken_by(*map(analytics_contract.columns, (before, now)))):
        raise PolicyError(f"{'; '.join(gone)}; nothing was written: publish what is new under another name")
    now["version"] = analytics_contract.next_version(before, now)
    arguments.file.write_text(analytics_contract.text(now), "utf-8")
    say(f"version {now['version']} is in {arguments.file}")
    return 0
