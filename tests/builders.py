"""Small worlds for tests: sound rows of the source, changed where a test wants them to be wrong.

Every person is synthetic; card numbers are published test numbers, addresses end in example.com.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from governance import keys, steps
from governance import policy as policies
from governance.detectors import findings
from governance.embedded.site import Site
from governance.keyring import Keyring
from governance.keys import KeyService
from governance.run_log import Run
from governance.sharing import outbox
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.identities import Identity
from governance.signers import CheckpointFolder, Signers, new_origin

POLICY = policies.load()


def keeping_numbers(policy: policies.Policy = POLICY) -> policies.Policy:
    """The same policy, where a hold may keep the number as evidence."""
    decided = policy.open_values["hold_keeps_number"].model_copy(update={"value": True})
    return policy.model_copy(update={"open_values": {**policy.open_values, "hold_keeps_number": decided}})


DAY = date(2026, 3, 10)
NOON = datetime(2026, 3, 10, 11, tzinfo=UTC)
NOW = datetime(2026, 3, 12, 9, tzinfo=UTC)
IDENTITY = Identity.new(NOW - timedelta(days=30))
"""That signs deliveries in tests."""
TABLES = (
    "bookings",
    "booking_travellers",
    "booking_services",
    "guardian_consents",
    "payment_cards",
    "clients",
    "terms_acceptances",
    "page_views",
    "providers",
    "consent_events",
    "inquiries",
    "offers",
    "subject_requests",
    "authority_requests",
)


@dataclass(frozen=True)
class Planted:
    """Rows of a source by table, and where their world had come to."""

    rows: Mapping[str, bytes]
    day: date
    next: int


@dataclass
class World:
    """A source with rows, to which a test adds; each `booking` and `view` is sound unless it is told otherwise."""

    dsn: str
    day: date = DAY
    _next: int = 1
    _connection: psycopg2.extensions.connection | None = field(default=None, repr=False)

    def execute(self, statement: str | sql.Composable, *values: Any) -> None:
        """One statement as the source's owner, committed."""
        if self._connection is None:
            self._connection = psycopg2.connect(self.dsn)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def copied(self) -> Planted:
        """All that was planted, to be put back."""
        return Planted({table: self._copy(table) for table in TABLES}, self.day, self._next)

    def put_back(self, planted: Planted) -> None:
        """That, and nothing else."""
        self._empty()
        for table, rows in planted.rows.items():
            if rows:
                self._copy(table, rows)
        self.day, self._next = planted.day, planted.next

    def _copy(self, table: str, rows: bytes = b"") -> bytes:
        self.execute("SELECT")  # logs in
        held, way = io.BytesIO(rows), "FROM STDIN" if rows else "TO STDOUT"
        with self._connection.cursor() as cursor:
            cursor.copy_expert(f"COPY wellbe.{table} {way}", held)
        return held.getvalue()

    def _empty(self) -> None:
        self.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(sql.Identifier("wellbe", t) for t in TABLES)))

    def close(self) -> None:
        """Log out."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def restart(self) -> None:
        """Give the same numbers again, to what is planted in the same order."""
        self._next = 1

    def clear(self) -> None:
        """An empty source with one clinic and one travel agency."""
        self._empty()
        for number, kind in ((1, "health"), (2, "travel")):
            self.insert(
                "providers",
                provider_id=number,
                kind=kind,
                name=f"Provider {number}",
                country_code="SE",
                active_from=date(2010, 1, 1),
                active_until=None,
                recorded_at=NOON - timedelta(days=900),
            )

    def insert(self, table: str, **row: Any) -> None:
        """One row as it stands."""
        self.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier("wellbe", table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(sql.Placeholder() * len(row)),
            ),
            *row.values(),
        )

    def crowd(self, people: int = 10, **changes: Any) -> list[str]:
        """Bookings of so many people who share quasi-identifiers and differ in specialty.

        Ten are published.
        """
        kinds = ("dental.implant", "ophthalmology.lasik")
        return [
            self.booking(**{"services": [{"procedure_code": kinds[number % 2]}]} | changes) for number in range(people)
        ]

    def apart(self, people: int) -> None:
        """So many people from southern Europe, in groups of three at most by stay, lead time and party."""
        kinds = ("dental.implant", "ophthalmology.lasik")
        for number in range(people):
            at = self.day + timedelta(days=(10, 100)[number // 6 % 2])
            self.booking(
                client={"country_code": "ES"},
                nights_count=(2, 5, 9)[number % 3],
                travellers=[{}] * (1 + number // 3 % 2),
                services=[{"starts_on": at, "procedure_code": kinds[number % 2]}],
                service_date=at,
            )

    def visitors(self, people: int = 10, **changes: Any) -> list[str]:
        """One view each of so many visitors of one country, device and page: ten are published."""
        return [self.view(**({"ip": f"192.0.2.{number + 1}"} | changes)) for number in range(people)]

    def number(self) -> int:
        """A number that no row has yet."""
        self._next += 1
        return self._next

    def at(self) -> datetime:
        """Noon of the world's day, UTC."""
        return datetime(self.day.year, self.day.month, self.day.day, 11, tzinfo=UTC)

    def booking(
        self,
        *,
        client: Mapping[str, Any] | None = None,
        terms: Mapping[str, Any] | None = None,
        travellers: list[dict[str, Any]] | None = None,
        services: list[dict[str, Any]] | None = None,
        consents: list[dict[str, Any]] | None = None,
        card: Mapping[str, Any] | None = None,
        with_client: bool = True,
        with_terms: bool = True,
        **row: Any,
    ) -> str:
        """One booking version with all that belongs to it; returns its row key, booking_id/version.

        `client`, `terms`, `card`: columns to change, `card={}` for a sound one. `travellers`, `services`, `consents`:
        one mapping of changes each.
        """
        at = self.at()
        feed_id = self.number()
        booking = {
            "feed_id": feed_id,
            "booking_id": 10_000 + feed_id,
            "version": 1,
            "client_id": 50_000 + feed_id,
            "offer_id": None,
            "purpose_code": "contract",
            "status": "booked",
            "booked_at": at - timedelta(minutes=5),
            "changed_at": at - timedelta(minutes=5),
            "recorded_at": at,
            "service_date": self.day + timedelta(days=40),
            "nights_count": 3,
            "price_amount_minor": 123_400,
            "currency_code": "EUR",
            "locale": "sv-SE",
            "notes": "Window seat, please.",
        } | row
        self.insert("bookings", **booking)
        booking_id, version, client_id = booking["booking_id"], booking["version"], booking["client_id"]
        if with_client:
            self.insert(
                "clients",
                **(
                    {
                        "client_id": client_id,
                        "version": 1,
                        "given_name": "Åsa",
                        "family_name": "Lindqvist",
                        "email": f"client{client_id}@example.com",
                        "phone": "+46701740605",
                        "skype": None,
                        "birth_date": date(1980, 5, 17),
                        "country_code": "SE",
                        "postcode": "11122",
                        "registered_at": at - timedelta(days=30),
                        "recorded_at": at - timedelta(days=30),
                    }
                    | dict(client or {})
                ),
            )
        if with_terms:
            self.insert(
                "terms_acceptances",
                **(
                    {
                        "acceptance_id": feed_id,
                        "client_id": client_id,
                        "terms_version": "2026-01",
                        "channel": "web",
                        "accepted_at": at - timedelta(days=30),
                        "recorded_at": at - timedelta(days=30),
                    }
                    | dict(terms or {})
                ),
            )
        for number, changes in enumerate([{}] if travellers is None else travellers, start=1):
            self.insert(
                "booking_travellers",
                **(
                    {
                        "booking_id": booking_id,
                        "version": version,
                        "traveller_no": number,
                        "role": "patient" if number == 1 else "companion",
                        "given_name": "Åsa",
                        "family_name": "Lindqvist",
                        "birth_date": date(1980, 5, 17),
                        "recorded_at": at,
                    }
                    | changes
                ),
            )
        for number, changes in enumerate([{}] if services is None else services, start=1):
            self.insert(
                "booking_services",
                **(
                    {
                        "booking_id": booking_id,
                        "version": version,
                        "service_no": number,
                        "kind": "health",
                        "provider_id": 1,
                        "procedure_code": "dental.implant",
                        "itinerary": None,
                        "starts_on": self.day + timedelta(days=40),
                        "recorded_at": at,
                    }
                    | changes
                ),
            )
        for changes in consents or []:
            self.insert(
                "guardian_consents",
                **(
                    {
                        "consent_id": self.number(),
                        "booking_id": booking_id,
                        "traveller_no": 1,
                        "guardian_name": "Karin Ek",
                        "guardian_email": "karin@example.com",
                        "guardian_phone": "+46701740606",
                        "relation": "parent",
                        "given_at": at - timedelta(days=2),
                        "verified_at": at - timedelta(days=1),
                        "verification_method": "bankid",
                        "recorded_at": at - timedelta(days=1),
                        "guardian_birth_date": date(1979, 9, 3),
                        "withdrawn_at": None,
                    }
                    | changes
                ),
            )
        if card is not None:
            self.insert(
                "payment_cards",
                **(
                    {
                        "card_id": self.number(),
                        "client_id": client_id,
                        "booking_id": booking_id,
                        "card_number": "4242424242424242",
                        "card_holder": "ASA LINDQVIST",
                        "card_expiry": "04/29",
                        "cvv": None,
                        "captured_at": at,
                        "save_to_profile": False,
                        "recorded_at": at,
                    }
                    | dict(card)
                ),
            )
        return f"{booking_id}/{version}"

    def views(self, count: int) -> None:
        """So many sound views, from 1 on, in one statement."""
        self.execute(
            "INSERT INTO wellbe.page_views (view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, language, "
            "url, session_id) SELECT n, %s, %s, 1000, '192.0.2.17', 'Mozilla/5.0 (X11; Linux x86_64; rv:144.0)', "
            "'sv-SE', '/clinics/stockholm', 'session-' || n FROM generate_series(1, %s) n",
            NOON, NOON, count,
        )  # fmt: skip

    def view(self, **row: Any) -> str:
        """One page view; returns its row key."""
        at, number = self.at(), self.number()
        view = {
            "view_id": number,
            "viewed_at": at - timedelta(seconds=1),
            "recorded_at": at,
            "duration_ms": 4000,
            "ip": "192.0.2.17",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
            "app_version": None,
            "language": "sv-SE",
            "url": "/clinics/stockholm?utm_source=mail",
            "referrer": None,
            "session_id": f"session-{number}",
            "first_party_cookie_id": None,
            "third_party_cookie_id": None,
            "gpc": None,
            "device_id": None,
            "device_settings": None,
            "latitude": None,
            "longitude": None,
        } | row
        self.insert("page_views", **view)
        return str(view["view_id"])


def workspace(site: Site, *, now: datetime = NOW, first: date = DAY, **changes: Any) -> steps.Workspace:
    """A workspace on the test's clusters with a clock that stands still."""
    policy = POLICY.model_copy(update={"site": policies.Site(first_partition={"bookings": first, "visits": first})})
    values: dict[str, Any] = {
        "policy": policy,
        "source_uri": lambda: site.dsn("puller"),
        "source_retention_dsn": lambda: site.dsn("source_retention"),
        "warehouse_dsn": site.dsn,
        "keys": lambda: key_service(site, now),
        "clock": lambda: now,
        "database_clock": changes.get("clock", lambda: now),
        "source_clock": lambda _: now,
        "signers": lambda: Signers.load(site.signers_path),
        "checkpoints": lambda: CheckpointFolder(site.checkpoints_path),
        "airflow_dsn": lambda: site.dsn("observer"),
        "identity": lambda: IDENTITY,
        "certificates": lambda: CertificateFolder(site.certificates_path),
        "outbox": lambda name, url: outbox.opened(name, url, site.outbox_secrets_path),
    } | changes
    return steps.Workspace(**values)


def key_service(site: Site, now: datetime = NOW) -> KeyService:
    """The site's key service, with a clock that stands still."""
    return keys.open_service(str(site.key_store_path), lambda: Keyring.load(site.keyring_path), POLICY, lambda: now)


def run(run_id: str = "test", task_id: str = "test") -> Run:
    """A run of a test."""
    return Run(dag_id="tests", run_id=run_id, task_id=task_id, try_number=1, trigger="manual", triggered_by="tester")


def read(site: Site, query: str, *values: Any, role: str = "governance_owner") -> list[tuple[Any, ...]]:
    """What a query brings, and what it changes is committed; as the owner unless told otherwise."""
    with psycopg2.connect(site.dsn(role)) as connection, connection.cursor() as cursor:
        cursor.execute(query, values or None)
        found = cursor.fetchall() if cursor.description else []
    connection.close()
    return found


def delivered(site: Site, delivery: str, root_key: str, recipient: str = "clinic") -> None:
    """Note a delivery of one booking version, as if it had been sent."""
    booking, version = root_key.split("/")
    read(
        site, "INSERT INTO sharing.deliveries (delivery_id, recipient_id, sent_at) VALUES (%s, %s, now())", delivery,
        recipient,
    )  # fmt: skip
    read(
        site,
        "INSERT INTO sharing.delivered_rows (delivery_id, booking_id, version, booking_reference, service_reference, "
        "person_reference) VALUES (%s, %s, %s, %s, 'service', 'person')",
        delivery, int(booking), int(version), f"booking {booking}",
    )  # fmt: skip


def log_names_nobody(site: Site) -> None:
    """Whatever a test was about: the log that it leaves holds no personal data."""
    leaves = read(site, "SELECT audit.leaf(r) FROM audit.run_log r")
    assert [found for (leaf,) in leaves for found in findings(leaf)] == []


@contextmanager
def past_triggers(site: Site) -> Iterator[psycopg2.extensions.cursor]:
    """Our database as superuser, whom no trigger stops: append-only holds for everybody else. Committed at the end."""
    dsn = site.dsn("postgres").rsplit("/", 1)[0] + "/governance"
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        yield cursor


def tamper(site: Site, *statements: str) -> None:
    """Execute statements past all triggers."""
    with past_triggers(site) as cursor:
        for statement in statements:
            cursor.execute(statement)


def empty_warehouse(site: Site) -> None:
    """Forget every batch, accepted row and release; the run log and the data keys too.

    As superuser, for append-only holds for everyone else.
    """
    with (
        psycopg2.connect(site.dsn("postgres").rsplit("/", 1)[0] + "/governance") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname IN ('control', 'records', 'quarantine', 'vault', 'analytics', 'sharing', 'audit') "
            "AND tablename <> 'in_force'"
        )
        tables = [name for (name,) in cursor.fetchall()]
        cursor.execute("TRUNCATE " + ", ".join(tables))
    connection.close()
    shutil.rmtree(site.checkpoints_path, ignore_errors=True)
    shutil.rmtree(site.certificates_path, ignore_errors=True)
    site.signers_path.unlink(missing_ok=True)
    Signers.create(site.signers_path, new_origin())
    site.key_store_path.unlink(missing_ok=True)
    site.keyring_path.unlink(missing_ok=True)
    keys.create(str(site.key_store_path), Keyring.create(site.keyring_path, now=NOW), now=NOW).close()
