"""Rows are conserved, what does not add up stops the batch, and one odd row stops nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

import builders
from aftermath import LANDED, content, entries, outcomes, state, terms, through
from builders import DAY, NOON, NOW, World
from governance import pulling, steps, validation
from governance.embedded.site import Site
from governance.errors import (
    ConservationError,
    GovernanceError,
    ValidationStoppedError,
)
from governance.run_log import RuleOutcome
from governance.sources import Snapshot
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()


def test_rows_are_conserved_from_hop_to_hop(site: Site, world: World, space: Workspace) -> None:
    first = world.crowd(12)[0]
    for _ in range(3):
        world.booking(with_terms=False)
    world.booking(client_id=int(first.split("/")[0]) + 40_000, with_client=False, with_terms=False)
    through(space, "bookings", KEY)
    (pulled,), (checked,), (published,) = terms(site, "pull"), terms(site, "validate"), terms(site, "publish")
    assert pulled["at_source"] == pulled["pulled"] == 16
    assert (checked["pulled"], checked["accepted"], checked["quarantined"]) == (16, 13, 3)
    assert published == {**checked, "published": 12, "carried_out": 1}
    assert len(builders.read(site, "SELECT 1 FROM analytics.bookings")) == 12
    assert len(builders.read(site, "SELECT 1 FROM quarantine.rows")) == 3


def test_a_row_accepted_after_its_partition_was_published_is_carried_into_the_next(site: Site, world: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    world.crowd()
    late = world.booking(with_terms=False, client_id=777)
    first = through(space, "bookings", KEY)
    assert (first.counts["accepted"], first.counts["quarantined"], first.counts["published"]) == (10, 1, 10)
    # The acceptance was recorded on that day and reached the feed only now.
    world.insert("terms_acceptances", acceptance_id=1, client_id=777, terms_version="2026-01", channel="web",
                 accepted_at=NOON - timedelta(days=3), recorded_at=NOON - timedelta(hours=1))  # fmt: skip
    again = through(space, "bookings", KEY, run_id="again")
    assert (again.counts["accepted"], again.counts["quarantined"], again.counts["published"]) == (11, 0, 10)
    world.day += timedelta(days=1)
    world.crowd()
    second = through(space, "bookings", NEXT)
    assert second.counts["accepted"] == 10
    term = terms(site)[-1]
    assert (term["accepted"], term["carried_in"], term["published"], term["suppressed"]) == (10, 1, 11, 0)
    ledger = builders.read(
        site,
        "SELECT accepted_partition, release_partition, decision FROM vault.release_ledger WHERE row_key = %s",
        late,
    )
    assert ledger == [(DAY, DAY + timedelta(days=1), "published")]
    decided = builders.read(site, "SELECT count(*), count(DISTINCT row_key) FROM vault.release_ledger")
    assert decided == builders.read(site, "SELECT count(*), count(*) FROM vault.bookings") == [(21, 21)]
    assert builders.read(site, "SELECT count(*) FROM analytics.bookings") == [(21,)]


def test_a_partition_is_the_same_whenever_it_is_pulled_again_whatever_the_feed_has_brought_since(
    site: Site, world: World
) -> None:
    """But for the consents of guardians, which count as they are known now (tests/integration/test_minors.py)."""
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    sound = world.booking(client_id=1)
    minor = world.booking(travellers=[{"birth_date": date(2010, 1, 1)}])
    untold = world.booking(client_id=3, with_terms=False)
    gap = world.booking(booking_id=4, version=3, status="amended")
    first = steps.pull(space, "bookings", KEY, builders.run())
    landed = {table: content(site, "landing", table) for table in LANDED}
    # The next day brings a newer client, a copy, the acceptance and the missing versions.
    at = NOON + timedelta(days=1)
    world.insert("clients", client_id=1, version=2, email="newer@example.com", country_code="NO", recorded_at=at,
                 birth_date=date(1980, 5, 17))  # fmt: skip
    world.insert("terms_acceptances", acceptance_id=1, client_id=3, terms_version="2026-01", channel="web",
                 accepted_at=NOON - timedelta(days=3), recorded_at=at)  # fmt: skip
    world.day += timedelta(days=1)
    for version in (1, 2):
        world.booking(booking_id=4, version=version, client_id=400 + version)
    world.booking(booking_id=int(sound.split("/")[0]), client_id=1, with_client=False, travellers=[], services=[])
    again = steps.pull(space, "bookings", KEY, builders.run("again"))
    assert again.counts == first.counts
    assert {table: content(site, "landing", table) for table in LANDED} == landed
    steps.validate(space, again, builders.run("again"))
    assert {key for (key,) in builders.read(site, "SELECT row_key FROM quarantine.rows")} == {minor, untold, gap}
    # The copy that the next day brought is held back alone; what was accepted before stays.
    steps.validate(space, steps.pull(space, "bookings", NEXT, builders.run()), builders.run())
    held = builders.read(site, "SELECT row_key, rules FROM quarantine.rows WHERE partition_key = %s", world.day)
    assert held == [(sound, ["R1.unique_key"])]
    assert [row["row_key"] for row in content(site, "vault", "bookings")] == [sound, "4/1", "4/2"]


def test_a_version_that_the_same_day_replaced_is_superseded(site: Site, world: World, space: Workspace) -> None:
    for key, kind in zip(world.crowd(), ("dental.implant", "hair.fue") * 5, strict=True):
        number = int(key.split("/")[0])
        world.booking(booking_id=number, version=2, status="amended", client_id=number + 40_000, with_client=False,
                      with_terms=False, services=[{"procedure_code": kind}])  # fmt: skip
    batch = through(space, "bookings", KEY)
    (term,) = terms(site)
    assert (term["accepted"], term["superseded"]) == (20, 10)
    assert batch.counts["published"] == term["published"] == 10
    assert {event for (event,) in builders.read(site, "SELECT booking_event FROM analytics.bookings")} <= {"amended"}
    ledger = builders.read(
        site,
        "SELECT DISTINCT split_part(row_key, '/', 2), decision = 'superseded' FROM vault.release_ledger ORDER BY 1",
    )
    assert ledger == [("1", True), ("2", False)]


def test_a_row_lost_in_the_stream_lands_nothing(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    world.view()
    original = Snapshot.batches
    monkeypatch.setattr(Snapshot, "batches", lambda *a: (batch.slice(1) for batch in original(*a)))
    before = state(site)
    with pytest.raises(ConservationError, match="table page_views: the source counts 2 rows, 1 arrived"):
        steps.pull(space, "visits", KEY, builders.run())
    assert state(site) == before


def test_a_row_lost_on_the_way_into_the_table_stops_validation(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    world.view()
    original = pulling.landed
    with monkeypatch.context() as patch:
        patch.setattr(pulling, "landed", lambda *a, **k: original(*a, **k).slice(1))
        batch = steps.pull(space, "visits", KEY, builders.run())
    with pytest.raises(ValidationStoppedError, match=r"R1\.evaluated_rows, R1\.row_count_equals_source"):
        steps.validate(space, batch, builders.run())


def test_a_row_that_left_the_vault_stops_publication(site: Site, world: World, space: Workspace) -> None:
    world.visitors(11)
    batch = steps.validate(space, steps.pull(space, "visits", KEY, builders.run()), builders.run())
    builders.read(site, "DELETE FROM vault.page_views WHERE row_id = (SELECT min(row_id) FROM vault.page_views)")
    with pytest.raises(ConservationError, match="the vault holds 10 rows of the partition, 11 were accepted"):
        steps.publish(space, batch, builders.run())
    assert builders.read(site, "SELECT count(*) FROM analytics.releases") == [(0,)]


def test_a_row_that_came_into_the_vault_unseen_stops_publication(site: Site, world: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    world.visitors(11)
    through(space, "visits", KEY)
    builders.read(
        site,
        "INSERT INTO records.page_views (partition_key, landing_no, row_key, visitor_token) "
        "SELECT max(partition_key), max(landing_no), 'stranger', 'x' FROM records.page_views",
    )
    world.day += timedelta(days=1)
    world.visitors(11)
    with pytest.raises(ConservationError, match=f"the vault holds 12 rows of partition {KEY}, 11 were accepted"):
        through(space, "visits", world.day.isoformat())


def test_a_row_lost_or_added_between_pull_and_validation_stops_the_batch_and_leaves_the_last_good_state(
    site: Site, world: World, space: Workspace
) -> None:
    world.booking(card={}, travellers=[{}, {}])
    steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    good = {name: content(site, "vault", name) for name in LANDED}
    lost = "DELETE FROM landing.{0} WHERE row_id = (SELECT min(row_id) FROM landing.{0})"
    added = (
        "INSERT INTO records.{0} (partition_key, landing_no, row_key) "
        "SELECT max(partition_key), max(landing_no), 'stranger' FROM records.{0}"
    )
    for change, table in [(lost, table) for table in LANDED] + [(added, "booking_services")]:
        batch = steps.pull(space, "bookings", KEY, builders.run("again"))
        builders.read(site, change.format(table))
        before = state(site)
        with pytest.raises(ValidationStoppedError, match=r"R1\.row_count_equals_source"):
            steps.validate(space, batch, builders.run("again"))
        assert state(site) == before
        assert {name: content(site, "vault", name) for name in LANDED} == good
        failed = entries(site, "validate", "outcome")[-1]
        stopped_by = {
            (rule["rule"], rule["table"])
            for rule in failed["rules"]
            if rule["outcome"] == "failed" and rule["severity"] == "critical"
        }
        assert failed["outcome"] == "failed"
        assert stopped_by == {("R1.row_count_equals_source", table), ("R1.evaluated_rows", table)}


DOUBLES = {
    "a traveller": (
        "booking_travellers",
        "R1.unique_traveller",
        "booking_id version traveller_no role birth_date recorded_at",
    ),
    "a service": (
        "booking_services",
        "R1.unique_service",
        "booking_id version service_no kind provider_id procedure_code starts_on recorded_at",
    ),
    "a card": ("payment_cards", "R1.unique_card", "card_id client_id booking_id card_number captured_at recorded_at"),
}


@pytest.mark.parametrize("what", DOUBLES)
def test_twice_the_same(what: str, site: Site, world: World, space: Workspace) -> None:
    table, rule, columns = DOUBLES[what]
    sound, doubled = world.booking(card={}), world.booking(card={})
    names = ", ".join(columns.split())
    number = doubled.split("/")[0]
    world.execute(
        f"INSERT INTO wellbe.{table} ({names}) SELECT {names} FROM wellbe.{table} WHERE booking_id = {number}"
    )
    steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    found = builders.read(site, "SELECT table_name, rule, root_key, count(*) FROM quarantine.findings GROUP BY 1, 2, 3")
    assert found == [(table, rule, doubled, 2)]
    assert builders.read(site, "SELECT row_key, rules FROM quarantine.rows") == [(doubled, [rule])]
    assert builders.read(site, "SELECT row_key FROM vault.bookings") == [(sound,)]
    assert builders.read(site, "SELECT count(*) FROM vault.payment_cards") == [(1,)]


def test_an_expectation_that_looked_at_too_few_rows_stops_the_batch(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    world.view()
    batch = steps.pull(space, "visits", KEY, builders.run())
    original = validation._results

    def doctored(*args: Any) -> Any:
        results = original(*args)
        chosen = next(answer for meta, _, answer in results if meta["rule"] == "B1.known_instant")
        chosen["result"]["element_count"] = 1
        return results

    before = state(site)
    with monkeypatch.context() as patch:
        patch.setattr(validation, "_results", doctored)
        with pytest.raises(
            ValidationStoppedError, match=r"critical rules failed: R1\.evaluated_rows \(first on table page_views"
        ):
            steps.validate(space, batch, builders.run())
    assert state(site) == before
    assert steps.validate(space, batch, builders.run()).counts["accepted"] == 2


@pytest.mark.parametrize(
    ("seen", "state_"), (([3, 3], "passed"), ([3, 2], "failed"), ([4, 3], "failed"), ([], "failed"))
)
def test_evaluated_rows_are_compared_with_the_batch(seen: list[int], state_: str) -> None:
    suite = validation.load_suite("visits")
    outcomes = [RuleOutcome("r", "B1", "warning", "page_views", n, 0, "passed") for n in seen]
    (found,) = validation._evaluated(suite, outcomes, {"page_views": 3})
    assert (found.rule, found.severity, found.outcome) == ("R1.evaluated_rows", "critical", state_)
    assert found.evaluated == min(seen, default=0)


def test_a_query_that_names_other_rows_than_were_counted_settles_nothing(
    site: Site, world: World, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.view()
    world.view(ip=None)
    batch = steps.pull(space, "visits", KEY, builders.run())
    original = validation.validate

    def without_condition(*args: Any, **kwargs: Any) -> validation.Verdict:
        verdict = original(*args, **kwargs)
        every = "SELECT row_id, row_key, root_key FROM current_page_views"
        return replace(verdict, findings=tuple(replace(finding, rows_query=every) for finding in verdict.findings))

    before = state(site)
    monkeypatch.setattr(validation, "validate", without_condition)
    with pytest.raises(
        GovernanceError, match=r"rule B1\.plausible_address: the suite counted 1 failing rows, its query names 2"
    ):
        steps.validate(space, batch, builders.run())
    assert state(site) == before


ODD = {
    "a service at no day": {"service_date": "infinity"},
    "a service before all days": {"service_date": "-infinity"},
    "a service in the year 294276": {"service_date": "294276-01-01"},
    "booked at no instant": {"booked_at": "infinity"},
    "booked before all instants": {"booked_at": "-infinity"},
    "terms accepted before all instants": {"terms": {"accepted_at": "-infinity"}},
    "terms accepted at no instant": {"terms": {"accepted_at": "infinity"}},
    "born on no day": {"travellers": [{"birth_date": "infinity"}]},
    "born before all days": {"travellers": [{"birth_date": "-infinity"}]},
    "born in the year 5874897": {"travellers": [{"birth_date": "5874897-12-31"}]},
    "a guardian's consent before all instants": {
        "travellers": [{"birth_date": date(2010, 1, 1)}],
        "consents": [{"given_at": "-infinity", "verified_at": "-infinity"}]},
    "the lowest version there is": {"version": -2147483648},
    "a price at the bound of its type": {"price_amount_minor": 9223372036854775807},
    "a service of its own before all days": {"services": [{"starts_on": "-infinity"}]},
    "a client born on no day": {"client": {"birth_date": "infinity"}},
    "a guardian born before all days, with a consent withdrawn at no instant": {
        "travellers": [{"birth_date": date(2010, 1, 1)}],
        "consents": [{"guardian_birth_date": "-infinity", "withdrawn_at": "infinity"}]},
    "nobody and nothing on it": {"travellers": [], "services": []},
}  # fmt: skip


@pytest.mark.clause("A1")
def test_an_odd_row_is_quarantined_and_stops_nobody_else(site: Site, world: World, space: Workspace) -> None:
    sound = world.booking(card={}, changed_at="infinity")
    odd = {world.booking(**changes): what for what, changes in ODD.items()}  # type: ignore[arg-type]
    for at in ("infinity", "-infinity", "294276-01-01"):
        world.booking(booking_id=1, version=1, card={"captured_at": at}, service_date=None)
    steps.validate(space, steps.pull(space, "bookings", KEY, builders.run()), builders.run())
    held = {key for (key,) in builders.read(site, "SELECT row_key FROM quarantine.rows")}
    assert [what for key, what in odd.items() if key not in held] == []
    assert builders.read(site, "SELECT row_key FROM vault.bookings") == [(sound,)]
    assert builders.read(site, "SELECT DISTINCT rule, count(*) FROM quarantine.refusals GROUP BY 1") == [
        ("K1.card_age.unknown_time", 3)
    ]


def test_a_day_on_which_nobody_books_a_clinic_is_published_like_any_other(
    site: Site, world: World, space: Workspace
) -> None:
    travel = {"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": "Arlanda to Lisbon"}
    for price in (20_000, 123_400) * 5:
        world.booking(services=[travel], price_amount_minor=price)
    assert through(space, "bookings", KEY).counts["published"] == 0  # one specialty, which is none
    assert terms(site)[-1]["carried_out"] == 10
    assert outcomes(site) == ["passed"] * 3


def test_the_only_booking_of_a_day_may_have_nobody_on_it(site: Site, world: World, space: Workspace) -> None:
    key = world.booking(travellers=[], services=[])
    assert through(space, "bookings", KEY).counts["quarantined"] == 1
    assert builders.read(site, "SELECT row_key FROM quarantine.rows") == [(key,)]


def test_an_odd_view_is_quarantined_and_stops_nobody_else(site: Site, world: World, space: Workspace) -> None:
    sound = world.view(language="x" * 10_000, user_agent="\x01😀" * 1000, url="/clinics?" + "q" * 100_000)
    odd = {world.view(viewed_at=at) for at in ("infinity", "-infinity", "294276-01-01", "4713-06-01 BC")}
    odd |= {world.view(duration_ms=9223372036854775807), world.view(latitude=float("inf"), longitude=float("-inf"))}
    steps.validate(space, steps.pull(space, "visits", KEY, builders.run()), builders.run())
    assert {key for (key,) in builders.read(site, "SELECT row_key FROM quarantine.rows")} == odd
    assert builders.read(site, "SELECT row_key FROM vault.page_views") == [(sound,)]


def test_a_version_recorded_twice_with_other_dates_is_quarantined_and_stops_nothing(
    site: Site, world: World, space: Workspace
) -> None:
    key = world.booking()
    number = int(key.split("/")[0])
    world.booking(booking_id=number, booked_at=NOON - timedelta(hours=2), service_date=DAY + timedelta(days=90),
                  travellers=[], services=[])  # fmt: skip
    assert through(space, "bookings", KEY).counts["quarantined"] == 2
    assert builders.read(site, "SELECT DISTINCT row_key, rules FROM quarantine.rows") == [(key, ["R1.unique_key"])]


def test_a_view_that_the_feed_brings_again_on_the_next_day_does_not_stop_that_day(site: Site, world: World) -> None:
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    key = world.visitors()[0]
    assert through(space, "visits", KEY).counts["published"] == 10
    world.day += timedelta(days=1)
    world.visitors(9)
    world.view(view_id=int(key))
    assert through(space, "visits", NEXT).counts["published"] == 10


def test_cards_without_a_booking_in_the_partition_are_validated_too(site: Site, world: World, space: Workspace) -> None:
    card = {
        "client_id": 2,
        "booking_id": 3,
        "card_number": "4242424242424242",
        "captured_at": NOON,
        "recorded_at": NOON,
    }
    for number in (1, 2, 2):
        world.insert("payment_cards", card_id=number, **card)
    through(space, "bookings", KEY)
    assert builders.read(site, "SELECT row_key FROM vault.payment_cards") == [("1",)]
    assert builders.read(site, "SELECT DISTINCT row_key, rule FROM quarantine.findings") == [("2", "R1.unique_card")]
    assert outcomes(site) == ["passed", "passed", "no_data"]
