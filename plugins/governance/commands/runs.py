"""`governance runs`: every try of every hop, and every read of personal zones, from the run log."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta

from governance import history
from governance.commands.reading import day, log_entries
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import InputError
from governance.history import Tried
from governance.run_log import BY_HAND, Outcome

READ = "read"
LONGEST_TRY = timedelta(days=8)
"""The sensor before publication waits a week; an entry from before that belongs to no try of the period."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "runs", help="every try of every hop: what, when, by whom, how it ended (from the run log)"
    )
    parser.add_argument(
        "--reads", action="store_true", help="who read what of landing, vault and quarantine, what for, how many rows"
    )
    parser.add_argument("--dataset", help="only this dataset: bookings, visits, keys, run_log ...")
    parser.add_argument("--partition", metavar="YYYY-MM-DD", type=day, help="only this partition")
    parser.add_argument("--clause", metavar="CLAUSE", help="only tries that serve this clause, such as L1")
    outcomes = [outcome.value for outcome in Outcome]
    parser.add_argument("--outcome", choices=outcomes, help="only tries that ended so; interrupted: without an outcome")
    parser.add_argument("--failed", action="store_true", help="only tries that failed or have no outcome")
    parser.add_argument("--since", metavar="YYYY-MM-DD", type=day, help="only tries from this day on (UTC)")
    parser.add_argument("--until", metavar="YYYY-MM-DD", type=day, help="only tries up to this day (UTC)")
    parser.add_argument(
        "--by", metavar="PERSON", help="only what this person started: an account of Airflow or of the machine"
    )
    parser.add_argument(
        "--key", nargs=2, metavar=("KIND", "SCOPE"),
        help="only what destroyed this key, such as: subject 'client 50012'; asks the key store for its id",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="whole entries, one JSON document a line")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    partition = arguments.partition and arguments.partition.isoformat()
    if "" in (arguments.by, arguments.clause, arguments.dataset):
        raise InputError("a filter is empty: leave it out, or name what to look for")
    since = arguments.since and date.fromordinal(max(1, arguments.since.toordinal() - LONGEST_TRY.days))
    entries = log_entries(sites.load().dsn("auditor"), dataset=arguments.dataset, partition=partition, since=since)
    every = history.attempts(entries)
    tries = list(_chosen(every, arguments))
    if arguments.json:
        for tried in tries:
            say(json.dumps({**tried.entry, "outcome": tried.outcome, "started_at": tried.started_at}, sort_keys=True))
        return 0
    for line in _reads(tries) if arguments.reads else _tries(tries, every):
        say(line)
    return 0


def _chosen(tries: Iterable[Tried], arguments: argparse.Namespace) -> Iterator[Tried]:
    outcomes = {arguments.outcome, *((history.INTERRUPTED,) if arguments.outcome == "interrupted" else ())}
    wanted: list[Callable[[Tried], bool]] = [lambda tried: (tried.event == READ) == arguments.reads]
    if arguments.key:
        key = _id_of(*arguments.key)
        wanted.append(lambda tried: key in tried.entry.get("keys", ()))
    if arguments.clause:
        wanted.append(lambda tried: arguments.clause.upper() in tried.entry["clauses"])
    if arguments.outcome:
        wanted.append(lambda tried: tried.outcome in outcomes)
    if arguments.failed:
        wanted.append(lambda tried: tried.outcome in ("failed", "interrupted", history.INTERRUPTED))
    if arguments.since:
        wanted.append(lambda tried: tried.started_at >= arguments.since.isoformat())
    if arguments.until:
        wanted.append(lambda tried: tried.started_at[:10] <= arguments.until.isoformat())
    if arguments.by:
        wanted.append(lambda tried: tried.run["triggered_by"] == arguments.by)
    return (tried for tried in tries if all(is_wanted(tried) for is_wanted in wanted))


def _id_of(kind: str, scope: str) -> str:
    """The id of a key, as entries name it: nobody finds it without the key store's reference key."""
    from governance.embedded import workspaces

    space = workspaces.workspace(sites.load())
    if kind not in space.policy.keys:
        raise InputError(f"no kind of key {kind!r}; there are {', '.join(space.policy.keys)}")
    with closing(space.keys()) as service:
        return service.id_of(kind, scope).hex()


# -- tries -------------------------------------------------------------------------------------------------------------


def _tries(tries: Sequence[Tried], every: Sequence[Tried]) -> Iterator[str]:
    yield (
        f"{'STARTED (UTC)':<20} {'DATASET':<9} {'PARTITION':<11} {'HOP':<12} {'TRY':>3} {'OUTCOME':<11} "
        f"{'TRIGGER':<10} WHAT"
    )
    for tried in tries:
        yield (
            f"{_started(tried):<20} {tried.dataset:<9} {tried.partition_key:<11} "
            f"{tried.event:<12} {tried.run['try_number']:>3} {tried.outcome:<11} {tried.run['trigger']:<10} "
            f"{': '.join(filter(None, (_whose(tried), _what(tried))))}"
        )
    unfinished = [tried for tried in tries if tried.outcome in ("interrupted", history.INTERRUPTED)]
    if unfinished:
        mended = sum(1 for tried in unfinished if _has_passed_since(tried, every))
        yield (
            f"{len(unfinished)} without an outcome, interrupted or still running; "
            f"of {mended} a later try has had its effect"
        )


def _has_passed_since(tried: Tried, every: Sequence[Tried]) -> bool:
    return any(
        later.started_at > tried.started_at and later.outcome in ("passed", "no_data", "replayed")
        for later in every
        if _of_what(later) == _of_what(tried)
    )


def _of_what(tried: Tried) -> tuple[str, str, str, str | None]:
    return tried.dataset, tried.partition_key, tried.event, tried.recipient


def _whose(tried: Tried) -> str:
    """Whose turn it was, unless the error names the recipient itself."""
    error = tried.entry.get("error") or {}
    is_named = tried.recipient is None or f"recipient {tried.recipient}" in error.get("message", "")
    return "" if is_named else f"recipient {tried.recipient}"


def _what(tried: Tried) -> str:
    if tried.outcome == "failed":
        error = tried.entry["error"]
        return f"{error['type']}: {error['message']}"
    if tried.event == "airflow_action":
        details, run = tried.entry["details"], tried.run
        where = " ".join(run[name] for name in ("dag_id", "run_id", "task_id") if run[name] not in ("none", "airflow"))
        state = f" -> {details['new_state']}" if "new_state" in details else ""
        return f"{run['triggered_by']}: {details['action']}{state} {where}".rstrip()
    if tried.outcome in ("interrupted", "skipped"):
        return str(tried.entry.get("reason") or "")
    terms = tried.conservation
    shown = {
        "pull": ("at_source", "pulled"),
        "validate": ("accepted", "quarantined"),
        "publish": ("published", "suppressed", "superseded", "carried_in"),
    }.get(tried.event, ())
    counts = tried.entry.get("counts") or {}
    # What concerns no partition, or not the whole of one, has no equation.
    told = [f"{name} {count:,}" for name, count in counts.items() if count and not terms]
    shard = [f"shard {details['shard']}"] if "shard" in (details := tried.entry.get("details") or {}) else []
    if "third_party" in details:
        told.append(f"{details['table']} to {details['third_party']}")
    parts = (
        shard
        + told
        + [
            f"{name.replace('_', ' ')} {terms[name]}"
            for name in shown
            if terms and (terms[name] or name != "carried_in")
        ]
    )
    return ", ".join(parts + [f"ALARM {alarm}" for alarm in tried.entry.get("alarms") or []])


# -- reads -------------------------------------------------------------------------------------------------------------


def _reads(tries: Sequence[Tried]) -> Iterator[str]:
    yield (
        f"{'STARTED (UTC)':<20} {'DATASET':<9} {'PARTITION':<11} {'ROLE':<10} {'PURPOSE':<17} {'ROWS':>9} "
        f"{'OUTCOME':<11} {'BY':<28} WHAT"
    )
    for tried in tries:
        reading, counts = tried.entry["reading"], tried.entry.get("counts") or {}
        rows = f"{counts['rows']:,}" if "rows" in counts else "?"
        yield (
            f"{_started(tried):<20} {tried.dataset:<9} {tried.partition_key:<11} {reading['role']:<10} "
            f"{reading['purpose']:<17} {rows:>9} {tried.outcome:<11} {_by(tried):<28} "
            f"{', '.join(f'{table} ({len(columns)} columns)' for table, columns in reading['columns'].items())}"
            f"{': ' + tried.entry['reason'] if tried.entry.get('reason') else ''}"
        )
    unclosed = sum(1 for tried in tries if tried.outcome in ("interrupted", history.INTERRUPTED))
    if unclosed:
        yield f"{unclosed} were never closed: still reading, or killed; how many rows they read is not known"


def _by(tried: Tried) -> str:
    run = tried.run
    task = f"{run['dag_id']}.{run['task_id']}" if run["dag_id"] != BY_HAND else f"`{run['task_id']}`"
    return f"{run['triggered_by']}: {task}" if run["triggered_by"] else task


def _started(tried: Tried) -> str:
    return tried.started_at[:19].replace("T", " ")
