"""The sharing part of `make bench`: bookings of one day to 200 recipients, from the source to sealed files in outboxes.

Each booking has a treatment and a journey, and a client who has consented; half of the recipients are clinics, half
travel agencies, so that each booking is in two deliveries, and each recipient has as many as the others. What is
measured is the whole step: consents and people read at the source, judged, projected, written, sealed by OpenSSL, put
into folders, and recorded. Peers in the same run: the same rows as one FHIR or JSON Lines file, without sealing, is the
part `wire_formats`; here the step is run again with nothing new, which is what every hour costs.

`python tests/bench/run.py sharing` runs this part alone; GOVERNANCE_BENCH_SHARED=5000 before it gives a quick look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import builders
import recipients
from bench import measuring
from bench.measuring import Measured, measured, say, say_columns
from builders import DAY, NOW, World
from governance import steps
from governance.embedded import control
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.run_log import Batch
from governance.sharing import demo_certificates, folders
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.identities import Identities
from governance.sharing.register import Recipient
from governance.steps import Workspace

BOOKINGS = int(os.environ.get("GOVERNANCE_BENCH_SHARED", "100000"))
RECIPIENTS = 200
KEY = DAY.isoformat()
LIBRARIES = ("pandas", "pyarrow.compute", "psycopg2", "adbc_driver_postgresql.dbapi", "pgpq", "governance.steps")
"""What sharing imports."""
FILL = """
INSERT INTO wellbe.providers SELECT n, CASE WHEN n <= {half} THEN 'health' ELSE 'travel' END, 'Provider ' || n, 'SE',
    '2010-01-01', NULL, '2024-01-01' FROM generate_series(1, 2 * {half}) n;
INSERT INTO wellbe.clients SELECT n, 1, 'Åsa', 'Lindqvist ' || n, 'client' || n || '@example.com', '+46701740605', NULL,
    '1980-05-17', 'SE', '11122', '{day}', '{day}' FROM generate_series(1, {bookings}) n;
INSERT INTO wellbe.terms_acceptances SELECT n, n, '2026-01', 'web', '2026-02-01', '2026-02-01'
    FROM generate_series(1, {bookings}) n;
INSERT INTO wellbe.consent_events SELECT n, n, 'health_data', 'web', 'given', '2026-02-01', '2026-02-01', 'checkout', 1,
    '2026-02-01' FROM generate_series(1, {bookings}) n;
INSERT INTO wellbe.bookings SELECT n, n, 1, n, NULL, 'contract', 'booked', '{day} 10:00+00', '{day} 10:00+00',
    '{day} 11:00+00', '2026-04-20', 3, 123400, 'EUR', 'sv-SE', 'Window seat, please.'
    FROM generate_series(1, {bookings}) n;
INSERT INTO wellbe.booking_travellers SELECT n, 1, 1, 'patient', 'Åsa', 'Lindqvist ' || n, '1980-05-17',
    '{day} 11:00+00' FROM generate_series(1, {bookings}) n;
INSERT INTO wellbe.booking_services SELECT n, 1, 1, 'health', 1 + n % {half}, 'dental.implant', NULL, '2026-04-20',
    '{day} 11:00+00' FROM generate_series(1, {bookings}) n;
INSERT INTO wellbe.booking_services SELECT n, 1, 2, 'travel', {half} + 1 + n % {half}, NULL, 'Malmö to Nice and back',
    '2026-04-20', '{day} 11:00+00' FROM generate_series(1, {bookings}) n;
ANALYZE;
"""


KEPT = ("deliveries", "delivered_rows")
ASIDE = [
    *(f"CREATE TABLE public.aside_{name} AS TABLE sharing.{name}" for name in KEPT),
    f"TRUNCATE {', '.join(f'sharing.{name}' for name in KEPT)}",
]
"""What was delivered to clinics is put aside: held by some who are in no register then, it would be looked at too."""
BACK = [f"INSERT INTO sharing.{name} TABLE public.aside_{name}" for name in KEPT]


def main(folder: Path) -> None:
    """All lines, on clusters of its own."""
    there = folder / "sharing-site"
    try:
        site = control.clusters_up(there)
        say_columns()
        fill(site)
        one(there, f"pull {BOOKINGS:,} bookings", pull)
        one(there, "validate", validate)
        register(site, folder / "outboxes")
        half = f"share: {RECIPIENTS // 2}"
        lines = [one(there, f"{half} clinics, FHIR", share, folder / "outboxes", "health_provider")]
        builders.tamper(site, *ASIDE)
        lines.append(one(there, f"{half} agencies, JSON Lines, CSV", share, folder / "outboxes", "travel_provider"))
        builders.tamper(site, *BACK)
        wall = sum(line.wall[0] for line in lines)
        say(f"    = {RECIPIENTS / wall:.1f} deliveries/s, {sum(line.rows for line in lines) / wall:,.0f} rows/s")
        one(there, "share again, an hour later: nothing is new", again, folder / "outboxes")
    finally:
        control.down(there)


def one(folder: Path, name: str, work: Callable[..., int], *arguments: object) -> Measured:
    """A line. What is shared is shared by a process that has imported what sharing needs, and no more."""
    libraries = LIBRARIES if arguments else measuring.LIBRARIES
    (line,) = measured((name, work, (folder, *arguments)), clusters=folder, libraries=libraries)
    return line


def fill(site: Site) -> None:
    """The bookings of one day at the source."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    world.execute("TRUNCATE wellbe.providers")
    world.execute(FILL.format(half=RECIPIENTS // 2, bookings=BOOKINGS, day=KEY))
    world.close()


def registered(outboxes: Path) -> dict[str, Recipient]:
    """Every recipient by its id; the provider's number is the one in it."""
    names = {f"recipient{number}": number for number in range(1, RECIPIENTS + 1)}
    kinds = ("health_provider", "travel_provider")
    return {
        name: recipients.registered(outboxes / name, number, kind=kinds[number > RECIPIENTS // 2])
        for name, number in names.items()
    }


def register(site: Site, outboxes: Path) -> None:
    """Their folders and certificates."""
    kept = CertificateFolder(site.certificates_path)
    for name in registered(outboxes):
        (outboxes / name).mkdir(parents=True)
        folders.prepare(outboxes / name, name)
        kept.add(name, demo_certificates.made(name, NOW)[0], NOW)


def space(folder: Path, register: Mapping[str, Recipient], now: datetime = NOW) -> Workspace:
    """A workspace of a site, whose identity is read from its file each time, as tasks read it."""
    identities = folder / "identity-of-that-day.pem"
    return recipients.sharing(
        sites.load(folder), register, now, identity=lambda: Identities.ensure(identities, NOW).current
    )


def pull(folder: Path) -> int:
    """The first hop."""
    steps.pull(builders.workspace(sites.load(folder)), "bookings", KEY, builders.run())
    return BOOKINGS


def validate(folder: Path) -> int:
    """The second one."""
    batch = Batch("bookings", KEY, builders.run().run_id)
    return steps.validate(builders.workspace(sites.load(folder)), batch, builders.run()).counts["accepted"]


def share(folder: Path, outboxes: Path, kind: str) -> int:
    """All deliveries to recipients of a kind; returns their rows."""
    register = {name: one for name, one in registered(outboxes).items() if one.kind == kind}
    done = steps.share(space(folder, register), KEY, builders.run())
    if done["rows"] != BOOKINGS or done["deliveries"] < RECIPIENTS // 2:
        raise SystemExit(f"not delivered: {done}")
    return done["rows"]


def again(folder: Path, outboxes: Path) -> int:
    """What every hour costs: what each recipient holds is held against the source."""
    later = space(folder, registered(outboxes), NOW + timedelta(hours=1))
    if done := steps.share(later, KEY, builders.run()):
        raise SystemExit(f"delivered again: {done}")
    return 2 * BOOKINGS
