"""The summary of a demo.

What each partition came to, which planted troubles were caught, and whether rows are conserved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from governance import history
from governance.commands.reading import FINDINGS, Query, lent, log_entries, rows
from governance.embedded.site import Site
from governance.policy import load
from governance.run_log import Conservation
from governance.sources import named_query
from governance.steps import retaining

if TYPE_CHECKING:
    from governance.sample.load import Loaded

IMPLIED = {
    "L1.adult_at_booking": {"L1.adult_at_service"},
    "L1.plausible_age": {"L1.adult_at_booking", "L1.adult_at_service"},
    "A1.known_client": {"A1.plausible_email"},
}
"""Rules that a trouble also breaks by its nature: who is a minor at booking often still is at service, who is not born
yet is no adult, and of an unknown client the address is unknown too."""

CARDS_AT_SOURCE = "cards_at_source"
"""The rule of retention that may meet a planted card before its partition is pulled."""


@dataclass(frozen=True)
class Caught:
    """Planted troubles of one kind, and how many the rule meant for them caught."""

    dataset: str
    kind: str
    rule: str
    planted: int
    caught: int


@dataclass(frozen=True)
class Report:
    """The lines to show, and whether everything held."""

    lines: tuple[str, ...]
    is_good: bool


@dataclass(frozen=True)
class Told:
    """What somebody else has found: the lines that say so, and what is not as it should be."""

    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


NOTHING = Told()


def report(
    site: Site, loaded: Loaded, times: Mapping[str, float], peak_pss_bytes: int, delivered: Told = NOTHING
) -> Report:
    """The summary of what the site's run log, quarantine and releases hold for the days that were loaded.

    `times` in seconds, by what they were spent on; `delivered`: what recipients have got.
    """
    first, last = loaded.first_day, loaded.last_day
    tries = history.attempts(log_entries(site.dsn("auditor")))
    in_range = [t for t in tries if first.isoformat() <= t.partition_key <= last.isoformat()]
    ended, ends, retention_problems = _retention(tries)
    with lent(site, "demo", "steward", FINDINGS) as review:
        tables, problems = _partitions(review, in_range)
        caught = _caught(site, review, ended[CARDS_AT_SOURCE])
        strangers = _strangers(site, review)
    problems += [*_unfinished(site, first, last), *retention_problems, *delivered.problems]
    problems += [
        f"{c.kind}: {c.planted - c.caught} of {c.planted} planted troubles missed by {c.rule}"
        for c in caught
        if c.caught < c.planted
    ]
    if loaded.origin == "generated" and strangers:
        problems.append(
            f"{sum(strangers.values())} rows were held back that no trouble was planted in: {dict(strangers)}"
        )
    lines = [
        "",
        *tables,
        "",
        *_troubles(caught),
        *_own_troubles(loaded, strangers),
        *_malformed(loaded),
        "",
        *ends,
        *(("", *delivered.lines) if delivered.lines else ()),
        "",
        *_decisions(site),
    ]
    lines += ["", *_figures(times, peak_pss_bytes), "", *_verdict(problems), "", *_where(site)]
    return Report(tuple(lines), not problems)


def _partitions(review: Query, tries: list[history.Tried]) -> tuple[list[str], list[str]]:
    lines, problems = [], []
    published = history.effective(tries, "publish")
    header = (
        f"{'PARTITION':<11}{'PULLED':>9}{'ACCEPTED':>10}{'QUARANT.':>10}{'PUBLISHED':>11}"
        f"{'SUPPR.':>8}{'SUPERS.':>9}{'SHARE':>7}{'K':>5}{'L':>4}"
    )
    for dataset in sorted({dataset for dataset, _ in published}):
        lines += [f"{dataset}  (rows: {'booking versions' if dataset == 'bookings' else 'page views'})", header]
        totals: Counter[str] = Counter()
        for key in sorted(key for key in published if key[0] == dataset):
            terms, measures = published[key].conservation, published[key].entry["measures"]
            totals.update({name: count for name, count in terms.items()})
            lines.append(_row(key[1], terms, measures.get("k"), measures.get("l")))
            problems += [f"{dataset} {key[1]}: {problem}" for problem in Conservation(**terms).imbalances()]
        lines.append(_row("all", totals, None, None))
        held = review(named_query("held_by_rule"), (dataset,) * 2)
        lines.append("held back by rule (a row may break several):")
        lines += [f"    {rule:<36}{count:>7}" for rule, count in held]
        lines.append("")
    return lines, problems


def _unfinished(site: Site, first: date, last: date) -> list[str]:
    """Partitions that have been landed again and not settled, and failed runs of Airflow."""
    query = (
        "SELECT dataset, partition_key FROM control.batches "
        "WHERE state <> 'settled' AND partition_key BETWEEN %s AND %s"
    )
    again = [
        f"{dataset} {day}: is being run again" for dataset, day in rows(site.dsn("coordinator"), query, (first, last))
    ]
    # A watch fails on purpose while its alarm is on, and retention when it met what is planted here: cards over age.
    query = (
        "SELECT dag_id, coalesce(partition_key, run_id) FROM dag_run "
        "WHERE state = 'failed' AND dag_id NOT IN ('watch', 'retention')"
    )
    failed = rows(site.dsn("airflow"), query)
    return again + [f"{dag} {key}: Airflow gave up on a run; see `governance runs --failed`" for dag, key in failed]


def _row(label: str, terms: Mapping[str, int], k: int | None, l: int | None) -> str:  # noqa: E741
    # Of bookings: an earlier version of the same day gives way to the last one and is no booking of its own.
    candidates = terms["accepted"] + terms["carried_in"] - terms["superseded"]
    share = f"{terms['published'] / candidates:.0%}" if candidates else "-"
    return (
        f"{label:<11}{terms['pulled']:>9,}{terms['accepted']:>10,}{terms['quarantined']:>10,}{terms['published']:>11,}"
        f"{terms['suppressed']:>8,}{terms['superseded']:>9,}{share:>7}{k or '':>5}{l or '':>4}"
    )


def _retention(tries: list[history.Tried]) -> tuple[Counter[str], list[str], list[str]]:
    """Rows that DAG `retention` ended, by rule; the lines that say so; and what kept it from its work."""
    ended: Counter[str] = Counter()
    beyond: Counter[str] = Counter()
    last = {}
    for tried in (t for t in tries if t.dataset == "retention"):
        counts = tried.entry.get("counts") or {}
        if tried.event == retaining.BREACH:
            beyond[tried.partition_key] += counts["rows"]
        else:
            last[(tried.event, tried.partition_key)] = tried
        if tried.event == retaining.EVENT:
            ended[tried.partition_key] += counts.get("ended", 0)
    problems = [
        f"retention {event} {rule}: {tried.entry['error']['message']}"
        for (event, rule), tried in last.items()
        if tried.outcome == "failed"
    ]
    lines = [f"ended by DAG retention, which runs every hour: {sum(ended.values())} rows"]
    lines += [
        f"    {rule:<36}{rows:>7}{f', {beyond[rule]} of them past their term' if beyond[rule] else ''}"
        for rule, rows in sorted(ended.items())
        if rows
    ]
    return ended, lines, problems or ([] if ended else ["DAG retention has not run"])


def _caught(site: Site, review: Query, ended_at_source: int) -> list[Caught]:
    """Planted troubles that the rule meant for them found on the very row, or that retention ended at the source.

    A card that is gone there is caught only as far as the log tells that so many were ended.
    """
    found = {
        (dataset, table, key, rule)
        for dataset, table, key, rule in review(
            "SELECT dataset, table_name, row_key, rule FROM quarantine.findings "
            "UNION ALL SELECT dataset, table_name, row_key, rule FROM quarantine.refusals",
        )
    }
    cards = {str(key) for (key,) in rows(site.dsn("wellbe_owner"), "SELECT card_id FROM wellbe.payment_cards")}
    planted: Counter[tuple[str, str, str]] = Counter()
    caught: Counter[tuple[str, str, str]] = Counter()
    for dataset, kind, rule, table, key in _planted(site):
        planted[(dataset, kind, rule)] += 1
        is_found = (dataset, table, key, rule) in found
        has_ended = not is_found and table == "payment_cards" and key not in cards and ended_at_source > 0
        ended_at_source -= has_ended
        caught[(dataset, kind, rule)] += is_found or has_ended
    return [Caught(*key, planted[key], caught[key]) for key in sorted(planted)]


def _planted(site: Site) -> list[tuple[str, str, str, str, str]]:
    query = "SELECT dataset, kind, rule, table_name, row_key FROM sample.planted_troubles"
    return rows(site.dsn("wellbe_owner"), query)


def _strangers(site: Site, review: Query) -> Counter[str]:
    """Rows held back by a rule that no planted trouble of that row explains, counted by rule."""
    allowed: set[tuple[str, str, str]] = set()
    for dataset, _, rule, _, key in _planted(site):
        for named in {rule} | IMPLIED.get(rule, set()):
            allowed.add((dataset, key, named))
    query = (
        "SELECT dataset, row_key, rule FROM quarantine.findings "
        "UNION ALL SELECT dataset, row_key, rule FROM quarantine.refusals"
    )
    return Counter(rule for dataset, key, rule in review(query) if (dataset, key, rule) not in allowed)


def _troubles(caught: list[Caught]) -> list[str]:
    planted, found = sum(c.planted for c in caught), sum(c.caught for c in caught)
    lines = [f"planted troubles: {planted}, caught by the rule meant for them: {found}"]
    return lines + [f"    {c.kind:<30}{c.rule:<36}{c.caught:>5} of {c.planted}" for c in caught]


def _own_troubles(loaded: Loaded, strangers: Counter[str]) -> list[str]:
    if loaded.origin == "generated":
        return [f"rows held back without a planted trouble: {sum(strangers.values())}"]
    lines = ["", f"what the files bring of their own: {sum(strangers.values())} findings"]
    return lines + [f"    {rule:<36}{count:>7}" for rule, count in sorted(strangers.items())]


def _malformed(loaded: Loaded) -> list[str]:
    lines = []
    for file, reasons in loaded.malformed.items():
        read = loaded.lines_read.get(file, 0)
        lines.append(f"{file}: {read:,} lines read, {sum(reasons.values()):,} malformed")
        lines += [f"    {reason:<36}{count:>7}" for reason, count in sorted(reasons.items())]
    return lines


def _decisions(site: Site) -> list[str]:
    policy = load(site=site.policy_path)
    open_values = [name for name, value in policy.open_values.items() if not value.is_confirmed]
    return [
        f"policy {policy.digest[:16]}; {len(open_values)} values are project defaults, unconfirmed: "
        f"{', '.join(open_values)}"
    ]


def _figures(times: Mapping[str, float], peak_pss_bytes: int) -> list[str]:
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times.items())
    return [f"time: {spent}; peak memory of all processes together (PSS): {peak_pss_bytes / 1e6:,.0f} MB"]


def _verdict(problems: list[str]) -> list[str]:
    if not problems:
        return ["rows are conserved in every partition; every planted trouble was caught: good"]
    return ["NOT GOOD:", *(f"    {problem}" for problem in problems)]


def _where(site: Site) -> list[str]:
    return [
        "where to look next:",
        f"    Airflow             {site.api_url}  user admin  password {site.ui_password}",
        "    the analyst         .venv/bin/governance psql --role analyst",
        "    the auditor         .venv/bin/governance runs        (also: explain L1, coverage)",
        "    what was held back  .venv/bin/governance quarantine list",
        "    stop everything     make down",
    ]
