"""`governance runs`: every try of every hop, from the run log."""

from __future__ import annotations

import argparse
import json

from governance import history
from governance.commands.reading import day, log_entries
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.embedded.demo_input import DATASETS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "runs", help="every try of every hop: what, when, by whom, how it ended (from the run log)"
    )
    parser.add_argument("--dataset", choices=(*DATASETS, "keys"), help="only this dataset, or what was done with keys")
    parser.add_argument("--partition", metavar="YYYY-MM-DD", type=day, help="only this partition")
    parser.add_argument("--failed", action="store_true", help="only tries that failed or have no outcome")
    parser.add_argument("--json", action="store_true", help="whole entries, one JSON document a line")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    tries = [
        tried
        for tried in history.attempts(log_entries(sites.load().dsn("auditor")))
        if arguments.dataset in (None, tried.dataset)
        and (arguments.partition is None or arguments.partition.isoformat() == tried.partition_key)
        and not (arguments.failed and tried.outcome not in ("failed", history.INTERRUPTED))
    ]
    if arguments.json:
        for tried in tries:
            say(json.dumps({**tried.entry, "outcome": tried.outcome, "started_at": tried.started_at}, sort_keys=True))
        return 0
    say(
        f"{'STARTED (UTC)':<20} {'DATASET':<9} {'PARTITION':<11} {'HOP':<12} {'TRY':>3} {'OUTCOME':<11} "
        f"{'TRIGGER':<10} WHAT"
    )
    for tried in tries:
        say(
            f"{tried.started_at[:19].replace('T', ' '):<20} {tried.dataset:<9} {tried.partition_key:<11} "
            f"{tried.event:<12} {tried.run['try_number']:>3} {tried.outcome:<11} {tried.run['trigger']:<10} "
            f"{_what(tried)}"
        )
    unfinished = [tried for tried in tries if tried.outcome == history.INTERRUPTED]
    mended = sum(1 for tried in unfinished if _has_passed_since(tried, tries))
    if unfinished:
        say(
            f"{len(unfinished)} without an outcome, interrupted or still running; "
            f"of {mended} a later try has had its effect"
        )
    return 0


def _has_passed_since(tried: history.Tried, tries: list[history.Tried]) -> bool:
    return any(
        later.started_at > tried.started_at and later.outcome in ("passed", "no_data", "replayed")
        for later in tries
        if (later.dataset, later.partition_key, later.event) == (tried.dataset, tried.partition_key, tried.event)
    )


def _what(tried: history.Tried) -> str:
    if tried.outcome == "failed":
        error = tried.entry["error"]
        return f"{error['type']}: {error['message']}"
    terms = tried.conservation
    shown = {
        "pull": ("at_source", "pulled"),
        "validate": ("accepted", "quarantined"),
        "publish": ("published", "suppressed", "superseded", "carried_in"),
    }.get(tried.event, ())
    counts = tried.entry.get("counts") or {}
    told = [f"{name} {count:,}" for name, count in counts.items() if count and tried.dataset == "keys"]
    parts = told + [
        f"{name.replace('_', ' ')} {terms[name]}" for name in shown if terms and (terms[name] or name != "carried_in")
    ]
    return ", ".join(parts + [f"ALARM {alarm}" for alarm in tried.entry.get("alarms") or []])
