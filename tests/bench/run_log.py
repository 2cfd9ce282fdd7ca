"""The run-log part of `make bench`: entries appended by eight writers, order given to them, proofs, verification.

Rates are per second of wall time, for they are of a database and of fsync. Peers in the same run: a bare INSERT of the
same texts by the same eight writers, and SHA-256 of the same lines with nothing else. `python tests/bench/run.py
run_log` runs this part alone; GOVERNANCE_BENCH_ENTRIES=100000 before it gives a quick look.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg2

import builders
from bench.measuring import say
from builders import NOW
from governance import steps
from governance.embedded import control
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.log_tree import LogTree
from governance.merkle import inclusion_proof, leaf_hash, verify_inclusion
from governance.run_log import Outcome
from governance.tiles import appended, edge
from run_logs import KIT, Insider, attempt, own_look

WRITERS, APPENDED = 8, 16_000
ENTRIES = int(os.environ.get("GOVERNANCE_BENCH_ENTRIES", "1_000_000"))
"""In the log that is verified."""
LEAVES = ENTRIES * 10
"""In the tree of which a leaf is proven."""
PROOFS = 200


def main(folder: Path) -> None:
    """All lines, on clusters of its own."""
    site_folder = folder / "log-site"
    try:
        site = control.clusters_up(site_folder)
        say(f"{'':<62}{'COUNT':>12}{'WALL S':>9}{'CPU S':>9}{'PER S':>12}")
        plain = _written("peer: bare INSERT, 8 writers, a commit each", site_folder, "plain")
        ours = _written("entries appended, 8 writers, a commit each", site_folder, "entries")
        say(f"    = {plain / ours:.2f} of the peer's rate")
        _line("entries given their place", APPENDED, lambda: steps.sequence(builders.workspace(site)))
        _many_entries(site)
        _line("entries given their place, a long queue", ENTRIES, lambda: steps.sequence(builders.workspace(site)))
        steps.checkpoint(builders.workspace(site), builders.run())
        _verified(site, folder)
        _proven(site)
    finally:
        control.down(site_folder)


def _line(name: str, count: int, work: Callable[[], object]) -> float:
    """Wall seconds of some work; printed with CPU seconds of this process and those it has waited for."""
    cpu, wall = _cpu(), time.perf_counter()
    work()
    seconds = time.perf_counter() - wall
    say(f"{name:<62}{count:>12,}{seconds:>9.2f}{_cpu() - cpu:>9.2f}{count / seconds:>12,.0f}")
    return seconds


def _cpu() -> float:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


# -- appending ---------------------------------------------------------------------------------------------------------


def _written(name: str, folder: Path, kind: str) -> float:
    """Wall seconds of so many commits, by processes at once, each on a connection of its own that is open already."""
    if kind == "plain":
        with closing(psycopg2.connect(sites.load(folder).dsn("governance_owner"))) as connection, connection:
            connection.cursor().execute("CREATE TABLE control.plain (id uuid PRIMARY KEY, entry text NOT NULL)")
    context = get_context("spawn")
    ready = context.Barrier(WRITERS + 1)
    writers = [context.Process(target=_writer, args=(folder, kind, ready)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    ready.wait()

    def ended() -> None:
        for writer in writers:
            writer.join()
            if writer.exitcode:
                raise SystemExit(f"a writer ended with {writer.exitcode}")

    return _line(name, APPENDED, ended)


def _writer(folder: Path, kind: str, ready: Any) -> None:
    role, statement = {
        "plain": ("governance_owner", "INSERT INTO control.plain VALUES (%s, %s)"),
        "entries": ("recorder", "SELECT audit.append(%s)"),
    }[kind]
    with closing(psycopg2.connect(sites.load(folder).dsn(role))) as connection, connection.cursor() as cursor:
        made = [_entry(kind) for _ in range(APPENDED // WRITERS)]
        ready.wait()
        for values in made:
            cursor.execute(statement, values)
            connection.commit()


def _entry(kind: str) -> tuple[str, ...]:
    """What one statement takes: the canonical text, for the bare INSERT with its id."""
    done = attempt()
    text = done.outcome(Outcome.PASSED, entry_id=done.attempt_id, at=NOW, counts={"rows": 10}).canonical()
    return (done.attempt_id, text) if kind == "plain" else (text,)


def _many_entries(site: Site) -> None:
    """A log as a busy year leaves it: copies of real entries, each with an id of its own, all waiting for a place."""
    insider = Insider(site)
    insider.sql(
        "INSERT INTO audit.run_log (entry_id, written_at, database_role, database_login, database_session, entry) "
        "SELECT id, clock_timestamp(), database_role, database_login, database_session, "
        "replace(replace(entry, entry_id::text, id::text), attempt_id, id::text) "
        "FROM (SELECT gen_random_uuid() AS id, r.* FROM generate_series(1, %s) g, "
        "(SELECT * FROM audit.run_log WHERE event = 'validate' LIMIT 1) r) made",
        ENTRIES,
    )
    insider.sql(
        "INSERT INTO audit.pending SELECT written_at, entry_id FROM audit.run_log r "
        "WHERE NOT EXISTS (SELECT FROM audit.leaves l WHERE l.entry_id = r.entry_id) ON CONFLICT DO NOTHING"
    )
    insider.sql("ANALYZE audit.run_log")
    insider.close()


# -- verifying ---------------------------------------------------------------------------------------------------------


def _verified(site: Site, folder: Path) -> None:
    size = ENTRIES + APPENDED
    export = folder / "log.jsonl"

    def write() -> None:
        with LogTree.connected(site.dsn("auditor")) as tree, export.open("wb") as file:
            file.writelines(leaf + b"\n" for _, leaf in tree.leaves() if leaf is not None)

    def hashed() -> None:
        with export.open("rb") as file:
            for line in file:
                sha256(line).digest()

    def by_kit() -> None:
        checkpoint = max(site.checkpoints_path.glob("*.checkpoint"))
        keys = site.checkpoints_path / "keys.txt"
        command = [sys.executable, "-I", str(KIT), "log", str(keys), str(export), str(checkpoint)]
        subprocess.run(command, check=True, capture_output=True)

    def by_us() -> None:
        if problems := own_look(site).problems:
            raise SystemExit(f"not verified: {problems}")

    _line("verify-log: leaves from the database, tree and tiles compared", size, by_us)
    _line("log exported", size, write)
    say(f"    {export.stat().st_size / size:,.0f} bytes an entry")
    peer = _line("peer: SHA-256 of every line of the export", size, hashed)
    kit = _line("the auditor's kit on the export", size, by_kit)
    say(f"    = {kit / peer:.1f} x the peer's time")


# -- proving -----------------------------------------------------------------------------------------------------------


def _proven(site: Site) -> None:
    """A tree ten times as large: its tiles and places are real, the entries behind most of its leaves are not there."""
    insider = Insider(site)
    (entry_id,) = insider.sql("SELECT entry_id::text FROM audit.leaves WHERE leaf_index = 12345")[0]
    insider.sql("TRUNCATE audit.leaves, audit.tiles")
    insider.sql(
        "INSERT INTO audit.leaves SELECT g, CASE WHEN g = 12345 THEN %s::uuid ELSE gen_random_uuid() END "
        "FROM generate_series(0, %s) g",
        entry_id, LEAVES - 1,
    )  # fmt: skip
    with LogTree.connected(site.dsn("auditor")) as tree:
        (_, leaf) = tree.place_of(entry_id) or (0, b"")
    size = 0
    held: dict[tuple[int, int], bytes] = {}
    while size < LEAVES:
        numbers = range(size, min(size + 100_000, LEAVES))
        hashes = [leaf_hash(leaf if number == 12345 else number.to_bytes(8, "big")) for number in numbers]
        changed = appended(size, {place: held[place] for place in edge(size)}, hashes)
        size += len(hashes)
        held = {place: changed.get(place) or held[place] for place in edge(size)}
        with insider.connection.cursor() as cursor:
            for (level, number), tile in changed.items():
                cursor.execute(
                    "INSERT INTO audit.tiles VALUES (%s, %s, %s) "
                    "ON CONFLICT (level, number) DO UPDATE SET hashes = EXCLUDED.hashes",
                    (level, number, tile),
                )
    insider.close()
    times = []
    for _ in range(PROOFS):
        began = time.perf_counter()
        with LogTree.connected(site.dsn("auditor")) as tree:
            found, hash_of = tree.place_of(entry_id), tree.hashes().hash_of
            proof = inclusion_proof(12345, LEAVES, hash_of)
        times.append(time.perf_counter() - began)
    with LogTree.connected(site.dsn("auditor")) as tree:
        root = tree.hashes().hash_of(0, LEAVES)
    if found is None:
        raise SystemExit("the entry has no place")
    verify_inclusion(12345, LEAVES, leaf_hash(found[1]), proof, root)
    times.sort()
    say(
        f"proof of an entry among {LEAVES:,}, connection included: median {times[PROOFS // 2] * 1000:.1f} ms, "
        f"slowest of {PROOFS} {times[-1] * 1000:.1f} ms, {len(proof)} hashes"
    )
