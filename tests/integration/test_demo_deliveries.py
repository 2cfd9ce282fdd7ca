"""What the demo shows of deliveries: whom it registers, and that its look at what they got would see what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import yaml

import builders
from aftermath import through
from builders import World
from governance import steps
from governance.commands.reading import rows
from governance.embedded import demo_deliveries, demo_input, demo_recipients, workspaces
from governance.embedded.site import Site
from governance.sample.canaries import bookings as canary_bookings
from governance.sample.canaries import token
from governance.sample.generator import generate
from governance.sharing.outbox import ACKNOWLEDGEMENT

pytestmark = [pytest.mark.pg, pytest.mark.slow, *(pytest.mark.clause(clause) for clause in ("F1", "H1", "N1"))]

SEED, DAYS = 7, 1


@pytest.fixture(scope="module")
def filled(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[date]]:
    """A sample at the source, and both recipients registered; nothing has been pulled."""
    world = World(site.dsn("wellbe_owner"))
    empty(site, world)
    builders.empty_warehouse(site)
    before = site.policy_path.read_bytes() if site.policy_path.exists() else None
    site.policy_path.unlink(missing_ok=True)
    until = datetime.now(ZoneInfo("Europe/Stockholm")).date() - timedelta(days=1)
    loaded = generate(
        site.dsn("wellbe_owner"), bookings=150, visits=1, days=DAYS, seed=SEED, until=until, now=datetime.now(UTC)
    )
    demo_input.write_site_policy(site, loaded.first_day)
    days = [loaded.first_day + timedelta(days=n) for n in range(DAYS)]
    demo_recipients.register(site, days)
    yield days
    site.policy_path.unlink()
    if before is not None:
        site.policy_path.write_bytes(before)
    empty(site, world)
    world.close()
    builders.empty_warehouse(site)


def empty(site: Site, world: World) -> None:
    world.clear()
    with psycopg2.connect(site.dsn("wellbe_owner")) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE sample.loads, sample.planted_troubles; DELETE FROM wellbe.providers")
    connection.close()


@pytest.fixture(scope="module")
def looked(site: Site, filled: list[date]) -> list[demo_deliveries.Look]:
    """Every day accepted and shared; and what a first look at it found."""
    space = workspaces.workspace(site)
    for day in filled:
        through(space, "bookings", day.isoformat())
        steps.share(space, day.isoformat(), builders.run("sharing"))
    return demo_deliveries.look(site, SEED, filled)


def test_the_clinic_and_the_agency_are_those_that_most_canaries_book_with(site: Site, filled: list[date]) -> None:
    register = workspaces.workspace(site).policy.all_recipients
    assert {name: one.kind for name, one in register.items()} == dict(demo_recipients.KINDS)
    ids = [booking for day in filled for booking in canary_bookings(day)]
    for one in register.values():
        kind = one.kind.removesuffix("_provider")
        query = (
            "SELECT count(*) FILTER (WHERE provider_id = %s), max(n) FROM (SELECT provider_id, count(*) n FROM "
            "wellbe.booking_services JOIN wellbe.providers p USING (provider_id) WHERE booking_id = ANY(%s) "
            "AND booking_services.kind = %s AND p.country_code = ANY(%s) GROUP BY 1) s WHERE n > 0"
        )
        free = list(workspaces.workspace(site).policy.sharing.transfers.free)
        ((there, _),) = rows(site.dsn("wellbe_owner"), query, (one.provider_id, ids, kind, free))
        assert there == 1


def test_what_a_site_says_of_its_own_stays_and_nothing_is_registered_twice(site: Site, filled: list[date]) -> None:
    before = site.policy_path.read_bytes()
    document = yaml.safe_load(before)
    kept = {name: workspaces.workspace(site).certificates().current(name) for name in demo_recipients.KINDS}
    own = document["recipients"].pop("demo_agency") | {"endpoint": "file:///srv/hand-over/own"}
    document["recipients"] = {"own": own} | document["recipients"]
    document["shard_rows"] = 2000
    site.policy_path.write_text(yaml.safe_dump(document), "utf-8")
    try:
        demo_recipients.register(site, filled)
        after = yaml.safe_load(site.policy_path.read_bytes())
        agency = after["recipients"].pop("demo_agency")
        assert after == document
        assert agency["provider_id"] != own["provider_id"]
        unchanged = site.policy_path.read_bytes()
        demo_recipients.register(site, filled)
        assert site.policy_path.read_bytes() == unchanged
    finally:
        site.policy_path.write_bytes(before)
    certificates = workspaces.workspace(site).certificates()
    assert {name: certificates.current(name) for name in demo_recipients.KINDS} == kept


def test_the_canaries_that_may_go_went_with_the_agreed_fields_alone_and_nobody_else(
    looked: list[demo_deliveries.Look],
) -> None:
    assert [one.problems for one in looked] == [(), ()]
    assert [one.deliveries for one in looked] == [DAYS, DAYS]
    for one in looked:
        assert 0 < one.canaries_in < one.canaries_out
        assert one.rows > one.canaries_in
    assert [one.fields for one in looked] == [14, 12]


def test_what_lies_in_the_outboxes_shows_no_canary(site: Site, filled: list[date], looked: object) -> None:
    assert demo_deliveries.legible(site, SEED, filled) == 0
    stray = demo_recipients.folder_of(site, "demo_clinic") / "notes.txt"
    stray.write_text(f"call {token(SEED, filled[0], 3, 'clients.email')}")
    try:
        assert demo_deliveries.legible(site, SEED, filled) == 1
    finally:
        stray.unlink()


def test_a_canary_that_has_withdrawn_since_is_seen_in_the_deliveries(
    site: Site, filled: list[date], looked: list[demo_deliveries.Look]
) -> None:
    went = "SELECT min(booking_id) FROM sharing.delivered_rows JOIN sharing.deliveries USING (delivery_id) " \
        "WHERE recipient_id = 'demo_clinic' AND booking_id = ANY(%s)"  # fmt: skip
    ids = [booking for day in filled for booking in canary_bookings(day)]
    ((booking,),) = builders.read(site, went, ids)
    with psycopg2.connect(site.dsn("wellbe_owner")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE wellbe.consent_events SET decision = 'withdrawn' WHERE purpose = 'health_data' AND client_id = "
            "(SELECT client_id FROM wellbe.bookings WHERE booking_id = %s) RETURNING event_id",
            (booking,),
        )
        changed = [event for (event,) in cursor.fetchall()]
    connection.commit()
    clinic, agency = demo_deliveries.look(site, SEED, filled)
    assert agency.problems == ()
    assert clinic.problems == (
        "demo_clinic: 4 tokens of canaries or fields that must not go are there",
        "demo_clinic: 1 people of bookings that must not go are there",
    )
    assert clinic.canaries_in == looked[0].canaries_in - 1
    assert clinic.kept_out == looked[0].kept_out + 1
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE wellbe.consent_events SET decision = 'given' WHERE event_id = ANY(%s)", (changed,))
    connection.close()


def test_other_fields_other_rows_and_a_missing_canary_are_seen(
    site: Site, filled: list[date], looked: list[demo_deliveries.Look], tmp_path: Path
) -> None:
    policy = workspaces.workspace(site).policy
    agency = policy.all_recipients["demo_agency"]
    expected = demo_deliveries._Expected(site, agency, "travel", SEED, tuple(filled))
    got = list(demo_deliveries.opened(site, "demo_agency", tmp_path))
    fields = list(got[0].manifest["fields"])

    def problems(*opened: demo_deliveries.Opened) -> tuple[str, ...]:
        return demo_deliveries._compared("demo_agency", "it", fields, list(opened), expected).problems

    assert problems(*got) == ()
    assert any("are missing" in problem for problem in problems(*got[1:]))
    assert any("nothing was delivered" in problem for problem in problems())
    odd = replace(got[0], manifest={**got[0].manifest, "fields": [*fields, "email"]})
    assert problems(odd, *got[1:]) == ("demo_agency: 1 deliveries have other fields than the contract",)
    more = {kind: content.replace(b'"itinerary"', b'"procedure"', 1) for kind, content in got[0].files.items()}
    assert problems(replace(got[0], files=more), *got[1:])[-1].endswith("other fields than the contract")
    odd = replace(got[0], manifest={**got[0].manifest, "rows": got[0].manifest["rows"] + 1})
    assert problems(odd, *got[1:]) == ("demo_agency: 1 deliveries have other rows than their manifests say",)


def test_a_resource_with_an_element_beside_the_contract_is_seen(site: Site, looked: object, tmp_path: Path) -> None:
    (first, *_) = demo_deliveries.opened(site, "demo_clinic", tmp_path)
    fields = list(first.manifest["fields"])
    assert demo_deliveries._is_as_agreed(first, fields)
    for element in (b'"resourceType":"Patient"', b'"resourceType":"Appointment"'):
        content = {kind: text.replace(element, element + b',"comment":"x"', 1) for kind, text in first.files.items()}
        assert not demo_deliveries._is_as_agreed(replace(first, files=content), fields)


def test_all_is_acknowledged_and_the_next_run_closes_it(
    site: Site, filled: list[date], looked: list[demo_deliveries.Look]
) -> None:
    for name in demo_recipients.KINDS:
        folder = demo_recipients.folder_of(site, name)
        assert len(list(folder.glob(f"*{ACKNOWLEDGEMENT}"))) == DAYS
    space = workspaces.workspace(site)
    assert steps.share(space, filled[-1].isoformat(), builders.run("sharing"))["acknowledged"] == 2 * DAYS
    open_ = "SELECT count(*) FROM sharing.deliveries WHERE acknowledged_at IS NULL"
    assert builders.read(site, open_) == [(0,)]


def test_a_recipient_whose_key_was_lost_gets_another_certificate(
    site: Site, filled: list[date], looked: object
) -> None:
    certificates = workspaces.workspace(site).certificates()
    before = certificates.current("demo_clinic")
    assert before is not None
    demo_recipients.key_of(site, "demo_clinic", before.certificate.fingerprint).unlink()
    demo_recipients.register(site, filled)
    after = certificates.current("demo_clinic")
    assert after is not None
    assert after.certificate.fingerprint != before.certificate.fingerprint
    assert demo_recipients.key_of(site, "demo_clinic", after.certificate.fingerprint).exists()
