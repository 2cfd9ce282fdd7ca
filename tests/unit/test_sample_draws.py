"""What a sample is made of: draws by key, days of Stockholm, texts that are no card numbers."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from governance.errors import InputError
from governance.sample import cards, catalogue, days, kinds, pages, people, text, wording
from governance.sample.draws import Draws, scrambled
from governance.sample.plan import CANARY_SLOT, TROUBLE_SLOT, Plan, booking_ids, client_ids, home_keys, keys_of, repeats

KEYS = np.arange(20_000, dtype=np.int64)
MONDAY = date(2026, 11, 16)


def plan(bookings: int = 2100, visits: int = 2100, span: int = 7, seed: int = 1) -> Plan:
    return Plan(seed, bookings, visits, MONDAY, MONDAY + timedelta(days=span - 1))


def test_a_draw_depends_on_seed_stream_name_and_key_alone() -> None:
    one = Draws(1, "a").uniform("x", KEYS)
    assert np.array_equal(one, Draws(1, "a").uniform("x", KEYS))
    assert np.array_equal(one[100:200], Draws(1, "a").uniform("x", KEYS[100:200]))
    for other in (Draws(2, "a").uniform("x", KEYS), Draws(1, "b").uniform("x", KEYS), Draws(1, "a").uniform("y", KEYS)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_draws_are_spread_as_they_say() -> None:
    draws = Draws(3, "spread")
    uniform, normal = draws.uniform("u", KEYS), draws.normal("n", KEYS)
    assert 0 <= uniform.min() < 0.001
    assert 0.999 < uniform.max() < 1
    assert np.histogram(uniform, 10)[0] == pytest.approx(np.full(10, 2000), rel=0.1)
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.03)
    assert np.bincount(draws.choice("c", KEYS, (1, 3))) == pytest.approx([5000, 15000], rel=0.05)
    assert set(draws.below("b", KEYS, 3).tolist()) == {0, 1, 2}


def test_scrambled_keys_are_a_rearrangement() -> None:
    assert np.array_equal(np.sort(scrambled(KEYS, 20_000, 387_421, 104_729)), KEYS)


def test_ids_do_not_collide_and_are_too_short_for_a_card_number() -> None:
    keys = np.concatenate([keys_of(MONDAY, 5000), keys_of(MONDAY, 90, TROUBLE_SLOT), keys_of(date(2040, 1, 1), 5000)])
    for ids in (booking_ids(keys), client_ids(keys)):
        assert len(np.unique(ids)) == len(keys)
        assert ids.max() < 10**12


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (MONDAY, 24)],
    ids=["spring", "autumn", "other"],
)
def test_a_stockholm_day_is_filled_from_its_first_instant_to_its_last(day: date, hours: int) -> None:
    begin, end = days.bounds(day)
    assert end - begin == hours * days.HOUR
    at = days.instants(day, np.linspace(0, 1, 10_001), days.BOOKING_HOURS)
    assert begin <= at.min() < begin + days.HOUR
    assert end - days.HOUR < at.max() < end
    assert np.all(np.diff(at) >= 0)
    assert set(days.local_dates(at).tolist()) == {day}


def test_people_book_by_day_and_read_in_the_evening() -> None:
    for hours, busiest in ((days.BOOKING_HOURS, 10), (days.VISIT_HOURS, 20)):
        at = days.instants(MONDAY, np.linspace(0, 1, 10_000, endpoint=False), hours)
        local = (at - days.bounds(MONDAY)[0]) // days.HOUR
        assert np.argmax(np.bincount(local)) == busiest


@pytest.mark.parametrize(
    ("day", "years", "found"),
    [
        ("2026-11-23", 18, "2008-11-23"),
        ("2024-02-29", 18, "2006-02-28"),
        ("2024-02-29", 4, "2020-02-29"),
        ("2026-03-31", 1, "2025-03-31"),
    ],
)
def test_years_before_a_day_stay_in_its_month(day: str, years: int, found: str) -> None:
    assert days.years_before(np.array([day], dtype="M8[D]"), years) == np.array([found], dtype="M8[D]")


@pytest.mark.parametrize("total", [1, 100, 15_000])
def test_whole_weeks_have_the_same_rate_wherever_they_begin_and_reach_the_total(total: int) -> None:
    day = date(2026, 11, 20)
    rates = set()
    for start in range(7):
        first = MONDAY + timedelta(days=start)
        week = [first + timedelta(days=n) for n in range(7)]
        counts = [days.rate_of(one, total, week[0], week[-1], days.BOOKING_WEEK) for one in week]
        assert total <= sum(counts) <= total + 7
        rates.add(days.rate_of(day, total, week[0], week[-1], days.BOOKING_WEEK))
        rates.add(days.rate_of(day, 2 * total, first, first + timedelta(days=13), days.BOOKING_WEEK))
    assert len(rates) == 1


def test_adults_are_adults_and_children_are_children_on_the_day() -> None:
    for day in ("2026-11-20", "2024-02-29", "2026-02-28", "2026-03-01"):
        booked = np.full(len(KEYS), np.datetime64(day))
        grown = days.years_before(booked, 18)
        draws = Draws(1, day)
        assert np.all(people.adult_births(draws, KEYS, booked) <= grown)
        child = people.child_births(draws, KEYS, booked)
        assert np.all((child > grown) & (child < booked))
        almost = people.almost_adult_births(draws, KEYS, booked, booked + np.timedelta64(9, "D"))
        assert np.all((almost > grown) & (almost < grown + np.timedelta64(9, "D")))
        for births in (people.adult_births(draws, KEYS, booked), child):
            assert np.char.endswith(births.astype(str), "02-29").sum() > 20


def test_names_keep_their_diacritics_and_addresses_have_none() -> None:
    draws, country = Draws(1, "clients"), people.countries(Draws(1, "clients"), KEYS)
    who = people.names(draws, KEYS, country)
    given = {people.atlas().given[place] for place in who.given.tolist()}
    assert {"Åsa", "Gülşen", "Małgorzata", "Guðrún", "Žaneta"} <= given
    emails = people.emails(draws, KEYS, who, KEYS).to_pylist()
    assert len(set(emails)) == len(KEYS)
    assert all(
        email.isascii() and email.split("@")[1] in {"example.com", "example.org", "example.net"} for email in emails
    )


def test_telephone_numbers_are_of_ranges_kept_for_fiction() -> None:
    draws = Draws(1, "clients")
    phones = people.phones(draws, KEYS, people.countries(draws, KEYS)).to_pylist()
    american = [phone for phone in phones if phone.startswith("+1")]
    assert all(len(phone) == 12 and phone[5:10] == "55501" for phone in american)
    swedish = [int(phone[3:]) for phone in phones if phone.startswith("+46")]
    assert 701_740_605 <= min(swedish) <= max(swedish) <= 701_740_699


def test_card_numbers_are_valid_unique_and_begin_like_test_numbers() -> None:
    keys = np.concatenate(
        [keys_of(MONDAY + timedelta(days=n), 3000) for n in range(4)] + [keys_of(MONDAY, 90, CANARY_SLOT)]
    )
    numbers = cards.numbers(Draws(1, "cards"), keys).to_pylist()
    assert len(set(numbers)) == len(numbers)
    assert all(text.luhn_valid(number) for number in numbers)
    assert {number[:6] for number in numbers} == set(cards.BEGINNINGS)
    assert {len(number) for number in numbers} == {15, 16}


@pytest.mark.clause("K4")
def test_long_references_in_free_text_never_look_like_a_card() -> None:
    references = text.references(1)
    assert max(map(len, references)) == 17
    assert not [digits for digits in references if text.looks_like_card(digits)]
    assert text.looks_like_card("99" + "4242424242424242" + "9")
    service = np.full(500, np.datetime64("2026-12-24"))
    written = (
        wording.itineraries(1, Draws(1, "t"), KEYS[:500], service).to_pylist()
        + wording.messages(1, Draws(1, "m"), KEYS).to_pylist()
    )
    runs = ["".join(sign if sign.isdigit() or sign in " -" else "|" for sign in line) for line in written]
    digits = [run.replace(" ", "").replace("-", "") for line in runs for run in line.split("|")]
    assert not [run for run in digits if text.looks_like_card(run)]


def test_repeated_bookings_lead_back_to_a_first_one() -> None:
    asked = plan(bookings=7000)
    keys = keys_of(date(2026, 11, 20), 4000)
    home = home_keys(asked, keys)
    again = repeats(asked, keys)
    assert 0.25 < again.mean() < 0.35
    assert not repeats(asked, home).any()
    assert np.array_equal(home[~again], keys[~again])
    assert np.all(home[again] < keys_of(date(2026, 11, 20), 1))


@pytest.mark.parametrize("bookings", [1, 70, 1500, 15_000, 150_000])
def test_every_kind_of_trouble_is_planted_within_any_three_days(bookings: int) -> None:
    asked = plan(bookings=bookings, visits=bookings)
    for start in range(7):
        three = [MONDAY + timedelta(days=start + n) for n in range(3)]
        assert {name for day in three for name in kinds.booking_kinds_on(asked, day)} == set(kinds.BOOKING_KINDS)
        assert {name for day in three for name in kinds.view_kinds_on(asked, day)} == set(kinds.VISIT_KINDS)


def test_about_one_booking_in_forty_and_three_views_in_a_thousand_are_troubled() -> None:
    asked = plan(bookings=70_000, visits=700_000)
    assert 0.02 < len(kinds.booking_kinds_on(asked, MONDAY)) / asked.bookings_on(MONDAY) < 0.03
    assert 0.002 < len(kinds.view_kinds_on(asked, MONDAY)) / asked.visits_on(MONDAY) < 0.004


@pytest.mark.parametrize(
    "asked",
    [
        {"bookings": 0},
        {"visits": -1},
        {"seed": -1},
        {"bookings": 7_000_000},
        {"visits": 700_000_000},
        {"last": MONDAY - timedelta(days=1)},
        {"first": date(2000, 5, 1), "last": date(2000, 5, 2)},
    ],
)
def test_a_sample_that_cannot_be_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Plan(**{"seed": 1, "bookings": 7, "visits": 7, "first": MONDAY, "last": MONDAY + timedelta(days=6), **asked})  # type: ignore[arg-type]


def test_every_specialty_has_clinics_and_closed_providers_ended_before_all_others_began_to_be_booked() -> None:
    made = catalogue.providers(1)
    assert min(map(len, made.by_specialty)) >= 4
    assert len(catalogue.specialties()) >= 12
    rows = {row["provider_id"]: row for row in made.rows.to_pylist()}
    assert len(rows) - len(made.closed) == 150
    open_ = [rows[number] for number in rows if number not in set(made.closed.tolist())]
    assert max(row["active_from"] for row in open_) < date(1996, 1, 1)
    assert max(rows[number]["active_until"] for number in made.closed.tolist()) < date(1996, 1, 1)


def test_pages_and_agents_cover_the_site_and_its_devices() -> None:
    paths = pages.pages().paths.to_pylist()
    assert {path.split("/")[1] for path in paths} == {
        "",
        "search",
        "clinics",
        "procedures",
        "offers",
        "booking",
        "account",
        "help",
        "blog",
    }
    assert all(path.startswith("/") and path.isascii() for path in paths)
    agents = pages.agents()
    assert [len(index) > 0 for index in agents.index] == [True] * len(pages.CLASSES)
    assert {len(a) for a in (agents.texts, agents.app_version)} == {sum(len(index) for index in agents.index)}
