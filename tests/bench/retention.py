"""The retention part of `make bench`: an ordinary hour on a site that holds much, and the end of every card at once.

The site: cards of the last 238 hours, each under the key of its hour, here and at the source, some saved in profiles by
their clients' choice and some held; bookings of two years, page views of a month, what releases decided about both,
and minors in review. Rows are written as the pipelines leave them; of them cards and saved numbers alone are really
encrypted, for nothing here opens any other. The ordinary hour finds the cards of one hour due, a 238th. The purge comes
ten days late: every card is due, and every hour of them is a breach with an entry of its own.

Peer in the same run: `DELETE` in psql of the same rows, of copies of both tables with their indexes. `python
tests/bench/run.py retention` runs this part alone; `retention --cards 20000 --standing 20000` gives a quick look.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

import builders
from bench.measuring import Measured, measured, say, say_columns, shown
from governance import steps
from governance.database import BinaryCopy
from governance.embedded import control, postgres
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.errors import AlarmError

if TYPE_CHECKING:
    import pyarrow as pa

    from governance.keys import Keys

NOW = datetime(2026, 3, 12, 9, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS = 238
"""So long lives the key of an hour: the oldest is due now."""
LATE = NOW + HOURS * HOUR
PEERS = {
    "ours": ("governance_owner", "records.payment_cards"),
    "at the source": ("wellbe_owner", "wellbe.payment_cards"),
}
ACTING = [name for name, rule in builders.POLICY.retention.rules.items() if rule.act != "keep"]
TASKS = ("keep_cards", "retain", "consents", "erase_minors", "crawl")
"""Of dags/retention.py, in an order in which they may run."""
OF_THESE = {"saved", "no_number", "missed", "keys_destroyed", "hold_keys_destroyed"}
"""Counts of `keep_cards` about rows that another of its counts holds already."""
CHUNK = 100_000
NUMBER = "4242424242424242"
SAVED_EVERY, HELD_EVERY, MINORS_EVERY = 10, 100, 2000


def main(folder: Path, cards: int, standing: int) -> None:
    """All lines, on clusters of its own."""
    there = folder / "retention-site"
    try:
        site = control.clusters_up(there)
        say_columns()
        one(there, "sample: bookings, page views, decisions", fill_standing, cards, standing)
        one(there, "sample: cards, encrypted by their hours", fill_cards, cards)
        _settle(site)
        one(there, f"keep_cards: {cards // SAVED_EVERY:,} choices are new", step, "keep_cards", NOW - HOUR)
        _as(site, "governance_owner", _text("holds"), cards=cards, held=HELD_EVERY)
        tasks = [one(there, f"an ordinary hour: {name}", step, name, NOW) for name in TASKS]
        whole = tasks[0]
        for line in tasks[1:]:
            whole += line
        shown(whole, "= an ordinary hour, all tasks")
        _rules(site)
        peers = [one(there, f"peer: DELETE in psql, {where}", delete, *copied(site, where)) for where in PEERS]
        for role, _ in PEERS.values():
            _as(site, role, "DROP TABLE public.bench")
        purge = one(there, "purge: retain, ten days late", step, "retain", LATE)
        ours = _rules(site)
        peer = sum(line.wall[0] for line in peers)
        say(f"    = {(ours['cards'] + ours['cards_at_source']) / peer:.2f} x the peer's time for the rules of cards")
        cpu = sum(purge.client + purge.server) / sum(sum(line.client + line.server) for line in peers)
        say(f"    = {cpu:.2f} x its CPU for the whole run, every rule")
        one(there, "proof of absence: every rule looks again", look, LATE)
        one(there, "crawl", step, "crawl", LATE)
    finally:
        control.down(there)


def one(folder: Path, name: str, work: Callable[..., int], *arguments: object) -> Measured:
    """A line."""
    (line,) = measured((name, work, (folder, *arguments)), clusters=folder)
    return line


# -- the work ----------------------------------------------------------------------------------------------------------


def step(folder: Path, name: str, now: datetime) -> int:
    """A task of the DAG; returns the rows that it looked at one by one, or ended."""
    site = sites.load(folder)
    space, run = builders.workspace(site, now=now), builders.run()
    ((before,),) = builders.read(site, "SELECT count(*) FROM records.payment_cards")
    with suppress(AlarmError):  # rows that outlived their term, which are gone then
        done = getattr(steps, name)(space, run) or {}
        return sum(count for name, count in done.items() if name not in OF_THESE)
    return 2 * int(before)  # cards, here and at the source


def look(folder: Path, now: datetime) -> int:
    """What every rule finds, which is nothing of cards; returns the rows that stay."""
    plan = steps.plan_retention(builders.workspace(sites.load(folder), now=now), builders.run())
    if due := {found.rule: found.due for found in plan.rules if found.due}:
        raise SystemExit(f"not gone: {due}")
    return sum(found.kept for found in plan.rules)


def delete(_: Path, dsn: str, rows: int) -> int:
    """What a hand would do."""
    psql, statement = str(postgres.program("psql")), f"DELETE FROM public.bench WHERE captured_at <= '{LATE}'"
    subprocess.run([psql, "--no-psqlrc", "--quiet", dsn, "--command", statement], check=True, capture_output=True)
    return rows


# -- the site ----------------------------------------------------------------------------------------------------------


def fill_standing(folder: Path, cards: int, standing: int) -> int:
    """What the source has, and everything of ours but cards."""
    site = sites.load(folder)
    sizes = {"cards": cards, "standing": standing, "saved": SAVED_EVERY, "twice": 2 * SAVED_EVERY}
    _as(site, "wellbe_owner", _text("at_source"), **sizes, minors=MINORS_EVERY)
    _as(site, "governance_owner", _text("ours"), standing=standing, minors=MINORS_EVERY)
    return cards + 4 * standing


def fill_cards(folder: Path, cards: int) -> int:
    """Cards as a pull leaves them."""
    site = sites.load(folder)
    with (
        closing(builders.key_service(site, NOW - HOUR)) as service,
        closing(psycopg2.connect(site.dsn("governance_owner"))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        keys = service.acting("loader", "intake", lambda _: None)
        batches = (_encrypted(range(at, min(at + CHUNK, cards)), keys) for at in range(0, cards, CHUNK))
        first = next(batches)
        columns = ", ".join(first.schema.names)
        copy = f"COPY records.payment_cards ({columns}) FROM STDIN (FORMAT BINARY)"
        cursor.copy_expert(copy, BinaryCopy(first, batches))  # type: ignore[arg-type] # as in warehouse.py
    return cards


def _encrypted(numbers: range, keys: Keys) -> pa.RecordBatch:
    """Cards of these numbers: their clients, the hours of their capture, and their values under the keys of these."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from governance.encryption import Column, encrypt

    newest = NOW.replace(minute=0, second=0) - HOUR
    captured = [newest - n % HOURS * HOUR + timedelta(seconds=n * 7919 % 3600) for n in numbers]
    row_keys, ids = pa.array(map(str, numbers), pa.string()), pa.array(numbers, pa.int64())
    of_row = keys.sealing("card_hour", pa.array([f"{at:%Y-%m-%dT%H}" for at in captured]))
    days = [(at + HOUR).date() for at in captured]  # winter in Stockholm
    texts = {"card_number": NUMBER, "card_holder": "ASA LINDQVIST", "card_expiry": "04/29"}
    sealed = {
        f"{name}_encrypted": encrypt(
            pa.array([text] * len(numbers)), row_keys, keys=of_row,
            column=Column("payment_cards", f"{name}_encrypted"), nonces=keys.nonces,
        )
        for name, text in texts.items()
    }  # fmt: skip
    return pa.record_batch(
        {
            "partition_key": pa.array(days, pa.date32()),
            "landing_no": pa.array([2 * (NOW.date() - day).days for day in days], pa.int64()),
            "row_key": row_keys,
            "root_key": pc.binary_join_element_wise(row_keys, "1", "/"),
            "client_id": ids,
            "booking_id": ids,
            **sealed,
            "captured_at": pa.array(captured, pa.timestamp("us", "UTC")),
            "is_saved_to_profile": pa.array([n % SAVED_EVERY == 0 and n % (2 * SAVED_EVERY) != 0 for n in numbers]),
        }
    )


def copied(site: Site, where: str) -> tuple[str, int]:
    """A copy of a table of cards with its indexes, for the peer: the address, and how many rows it has."""
    role, table = PEERS[where]
    _as(site, role, f"CREATE TABLE public.bench (LIKE {table} INCLUDING INDEXES)")
    _as(site, role, f"INSERT INTO public.bench SELECT * FROM {table}")
    ((rows,),) = builders.read(site, "SELECT count(*) FROM public.bench", role=role)
    return site.dsn(role), int(rows)


def _settle(site: Site) -> None:
    """What autovacuum has done by the time that rows are due."""
    for role, database in (("postgres", "governance"), ("source_postgres", "wellbe")):
        dsn = site.dsn(role).rsplit("/", 1)[0] + f"/{database}"
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute("VACUUM (ANALYZE)")


def _as(site: Site, role: str, statements: str, **sizes: int) -> None:
    values = {"now": NOW.isoformat(), "today": NOW.date().isoformat(), **sizes}
    with closing(psycopg2.connect(site.dsn(role))) as connection, connection:
        connection.cursor().execute(statements, values)


def _text(name: str) -> str:
    """The text of `retention_<name>.sql`, beside this file."""
    return (Path(__file__).parent / f"retention_{name}.sql").read_text()


# -- what the log says -------------------------------------------------------------------------------------------------


def _rules(site: Site) -> dict[str, float]:
    """Seconds of each rule in the last run of `retain`, from the instants of its entries; the slow ones are printed."""
    took = {}
    for rule, ended, kept, seconds in builders.read(site, _text("rules"), len(ACTING)):
        took[rule] = seconds
        if ended or seconds > 0.5:
            say(f"    {rule:<40}{ended:>11,} ended, {kept:>11,} stay{seconds:>8.2f} s")
    return took
