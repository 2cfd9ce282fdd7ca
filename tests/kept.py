"""All that a site keeps: taken, put back, compared with what another run has left."""

from __future__ import annotations

import hashlib
import io
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

import builders
from aftermath import LANDED, content, entries
from builders import World
from governance import history
from governance.embedded.site import Site
from governance.keyring import KEY_ENCRYPTION

ZONES = ("control", "records", "quarantine", "vault", "analytics", "sharing", "audit")
LOG = ("audit.run_log", "audit.pending", "audit.sessions", "audit.texts")
BEGUN = "control.landings"
"""A landing that was begun is none yet."""
SHOWN = [f"{zone}.{table}" for zone in ("landing", "vault") for table in (*LANDED, "page_views")]
"""The rows of `records` as the zones show them."""
FILES = ("keyring.json", "keys.sqlite", "run_log_signers.txt")
KEY_EFFECTS = (
    "count(destroyed_at) FROM data_keys",
    "max(version) FROM data_keys",
    "* FROM destructions",
    "current_version FROM store",
    "* FROM wrapping_keys",
)
"""What changes in the key store when more than a key was made."""
OURS = {
    "control.batches": ("run_id", "pull_attempt", "changed_at", "settled_no"),
    "control.shards": ("landed_at",),
    "quarantine.rows": ("run_id", "quarantined_at"),
    "records.refusals": ("refused_at",),
    "analytics.releases": ("release_id", "released_at"),
    "analytics.privacy_budget": ("spent_at",),
    "analytics.visits_regions_rows": ("visitors_count", "visitors_low", "visitors_high"),
    "analytics.bookings_events_rows": ("bookings_count", "bookings_low", "bookings_high"),
    "analytics.bookings_events_origins_rows": ("bookings_count", "bookings_low", "bookings_high"),
    "analytics.inquiries_funnel_rows": ("clients_count", "clients_low", "clients_high"),
    "analytics.visits_search_to_booking_rows": ("visitors_count", "visitors_low", "visitors_high"),
    "control.purged": ("purged_at",),
    "control.first_captures": ("met_at",),
    "quarantine.reviews": ("since",),
    "sharing.obligations": ("raised_at", "notice_id"),
    "sharing.deliveries": (
        "delivery_id",
        "attempt_id",
        "created_at",
        "ciphertext_sha256",
        "plaintext_sha256",
        "references_sha256",
        "manifest_sha256",
        "excluded",
    ),
    "sharing.delivered_rows": (
        "delivery_id",
        "booking_reference",
        "service_reference",
        "person_reference",
        "delivered_at",
    ),
    "vault.saved_cards": ("partial_number_encrypted", "saved_at"),
    "vault.card_holds": ("hold_id", "card_token", "number_encrypted"),
    "vault.release_people": ("person",),
}
"""Columns that say which try it was, and when, or that carry noise: no two runs agree about them."""
HOUSE_KEEPING = (
    "keep_keys", "keep_cards", "reconcile", "provision", "migrate", "note_logins", "erase_minors", "erase",
    "retain", "consents", "share", "deliver", "settle_delivery",
)  # fmt: skip
"""Events that say what this try has found to do: less, where one before was killed after it had done it."""
ONCE = ("publish", "destroy_keys", "hold_card", "alarm", "airflow_action")
"""Events that nothing may do, or tell, twice."""


@dataclass
class Kept:
    """Rows of our database, keys, signers, checkpoints and what lies in one more folder, as they were once."""

    site: Site
    folder: Path
    elsewhere: Callable[[], object] = lambda: None
    """Puts back what is kept on no side of ours."""
    connection: psycopg2.extensions.connection = field(init=False, repr=False)
    rows: dict[str, bytes] = field(default_factory=dict, repr=False)
    files: dict[Path, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.connection = psycopg2.connect(self.site.dsn("postgres"), dbname="governance")
        self.connection.autocommit = True
        with self.connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")  # no trigger stops what is put back
        query = "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = ANY(%s) ORDER BY 1"
        self.rows = {name: self._copied(name) for (name,) in self._read(query, list(ZONES))}
        self.files = self._written()

    def put_back(self) -> None:
        """All as it was when it was taken."""
        self.put_back_rows()
        for path in self._written().keys() - self.files.keys():
            path.unlink()
        if not any(path.parent == self.site.checkpoints_path for path in self.files):
            shutil.rmtree(self.site.checkpoints_path, ignore_errors=True)
        for path, held in self.files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(held)
            path.chmod(0o644 if path.parent == self.site.checkpoints_path else 0o600)
        self.elsewhere()

    def put_back_rows(self) -> None:
        """Our database as it was when it was taken."""
        with self.connection.cursor() as cursor:
            for name, rows in self.rows.items():
                if self._copied(name) != rows:
                    cursor.execute(f"DELETE FROM {name}")
                    cursor.copy_expert(f"COPY {name} FROM STDIN", io.BytesIO(rows))

    def effects(self) -> list[Any]:
        """What more than an intent changes. A key that was made for nothing yet is no effect: the next try uses it."""
        rows = {name: hashlib.sha256(self._copied(name)).digest() for name in self.rows if name not in (*LOG, BEGUN)}
        ended = self._read("SELECT count(*) FROM audit.run_log WHERE phase = 'outcome'")
        keys = []
        if self.site.key_store_path.exists():
            with closing(sqlite3.connect(self.site.key_store_path)) as store:
                keys = [store.execute(f"SELECT {what}").fetchall() for what in KEY_EFFECTS]
        files = {path: held for path, held in self._written().items() if "keys.sqlite" not in path.name}
        return [rows, ended, keys, files]

    def facts(self, now: datetime) -> dict[str, Any]:
        """What must be the same however often a step was killed: rows (opened), keys, and what the log calls done."""
        behind = {f"records.{table}" for table in (*LANDED, "page_views")} | {BEGUN}
        names = [name for name in self.rows if name not in behind and not name.startswith("audit.")]
        found: dict[str, Any] = {name: self._rows(name, now) for name in (*names, *SHOWN)}
        with closing(builders.key_service(self.site, now)) as service:
            found["keys"] = [(c.kind, c.alive, c.destroyed) for c in service.store.census(now.timestamp())]
            found["versions"] = (len(service.store.head().check_values), len(service.keyring.versions(KEY_ENCRYPTION)))
            found["unrecorded"] = service.store.unrecorded()
        published = self.site.checkpoints_path
        found["published"] = oct(published.stat().st_mode) if published.exists() else None
        tries = history.attempts(entries(self.site))
        done = [_told(t) for t in tries if t.outcome in history.EFFECTIVE and t.event not in HOUSE_KEEPING]
        # As a set: a pull that was killed after its commit is done again, and replaces what it has landed.
        found["done"] = sorted(set(done))
        found["done once"] = sorted(tried for tried in done if tried[0] in ONCE)
        # What reconciliation says of others.
        ended = [tried for tried in tries if tried.outcome not in history.EFFECTIVE]
        found["said"] = sorted(_told(tried) for tried in ended if tried.run["dag_id"] == "bookings")
        return found

    def close(self) -> None:
        """Log out."""
        self.connection.close()

    def _rows(self, name: str, now: datetime) -> list[dict[str, Any]]:
        """The rows of a table, each token by its rank alone: the key that makes it may be made anew."""
        rows = [row for (row,) in self._read(f"SELECT to_jsonb(t) FROM {name} t")]
        if rows and name in SHOWN:
            rows = content(self.site, *name.split("."), now)
        ours, ranks = (*OURS.get(name, ()), "row_id", "landing_no"), dict[str, int]()

        def value(column: str, held: Any) -> Any:
            return ranks.setdefault(held, len(ranks)) if held and column.endswith("_token") else held

        named = [{column: held for column, held in row.items() if column not in ours} for row in rows]
        named.sort(key=lambda row: str([row.get("row_key"), *(v for k, v in row.items() if not k.endswith("_token"))]))
        return [{column: value(column, held) for column, held in row.items()} for row in named]

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall()

    def _copied(self, table: str) -> bytes:
        out = io.BytesIO()
        with self.connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} TO STDOUT", out)
        return out.getvalue()

    def _written(self) -> dict[Path, bytes]:
        """The files, drafts included."""
        found = [path for path in self.site.data_dir.iterdir() if any(name in path.name for name in FILES)]
        found += [*self.site.checkpoints_path.glob("*"), *self.folder.glob("*")]
        return {path: path.read_bytes() for path in found if path.is_file()}


@contextmanager
def beginning(site: Site, folder: Path, prepare: Callable[[World], object]) -> Iterator[Callable[[World], None]]:
    """What a preparation makes of an empty world and an empty warehouse: made once, and put back by what is yielded,
    for each of the tests that begin there."""
    builders.empty_warehouse(site)
    with closing(World(site.dsn("wellbe_owner"))) as first:
        first.clear()
        prepare(first)
        planted = first.copied()
    with closing(Kept(site, folder)) as kept:

        def again(world: World) -> None:
            kept.put_back()
            world.put_back(planted)

        yield again


def _told(tried: history.Tried) -> tuple[str, ...]:
    """What an attempt did, whichever it was."""
    entry = tried.entry
    said = (tried.conservation, entry.get("keys"), entry["alarms"])
    return (tried.event, tried.dataset, tried.partition_key, tried.outcome, *map(str, said))
