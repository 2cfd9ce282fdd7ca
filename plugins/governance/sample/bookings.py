"""Bookings as numbers: who books what for when at which price. Texts come later (`render`).

Everything is drawn by the booking's key, so that a booking can be described again when a later version of it is due.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from governance.sample import days, kinds, people
from governance.sample.catalogue import procedures
from governance.sample.draws import Bools, Dates, Draws, Floats, Ints
from governance.sample.files import words
from governance.sample.plan import CANARY_SLOT, TROUBLE_SLOT, Plan, day_numbers, home_keys, repeats, slots

ALONE_PARTY, COUPLE_PARTY, CHILD_PARTY, CHILD_ALONG_PARTY = 0, 1, 4, 8  # places in `party.PARTIES`
CHILD_PARTIES = (4, 5, 6, 7, 8)
LONGEST_LEAD = 400


@dataclass(frozen=True)
class Bookings:
    """One entry per booking, as its first version has it."""

    key: Ints
    client_key: Ints
    country: Ints  # place in the atlas
    client_birth: Dates
    booked_at: Ints
    recorded_at: Ints
    service_date: Dates
    nights: Ints
    procedure: Ints
    has_health: Bools
    has_travel: Bools
    second_procedure: Ints  # -1: none
    price_minor: Ints
    currency: Ints  # place in the atlas's countries, whose currency it is
    has_card: Bools
    party: Ints  # place in PARTIES (see `party`); -1: the travellers come from elsewhere

    @property
    def is_home(self) -> Bools:
        """Tell which bookings are the first of their client."""
        found: Bools = self.key == self.client_key
        return found

    @property
    def booked_date(self) -> Dates:
        """Return the Stockholm date of each booking."""
        return days.local_dates(self.booked_at)


PARTY_SHARES = (45.0, 26.0, 6.0, 5.0, 3.5, 1.5, 3.5, 3.0, 1.5, 2.5, 2.5)


def describe(plan: Plan, keys: Ints, has_later: Bools) -> Bookings:
    """Return the bookings of keys; those with later versions lie at least 15 days ahead of their service."""
    draws, canary = plan.draws("bookings"), slots(keys) >= CANARY_SLOT
    client = home_keys(plan, keys)
    people_draws = plan.draws("clients")
    country = _canary_countries(keys, canary, people.countries(people_draws, client))
    recorded, booked = instants(plan, keys)
    booked_date = days.local_dates(booked)
    lead = np.where(canary, 42 + draws.below("lead", keys, 3), leads(draws, keys, booked_date))
    needs_time = has_later | (slots(keys) >= TROUBLE_SLOT)
    service = booked_date + np.where(needs_time, np.maximum(lead, 15), lead).astype("m8[D]")
    procedure = _procedures(draws, keys, canary)
    born = client_births(plan, client)
    party = _parties(plan, draws, keys, canary)
    too_young = (
        (slots(keys) < TROUBLE_SLOT) & (born > days.years_before(booked_date, 34)) & np.isin(party, CHILD_PARTIES)
    )
    party = np.where(too_young, COUPLE_PARTY, party)
    wanted = services(draws, keys, procedure)
    nights = nights_of(draws, keys, procedure)
    price = prices(draws, keys, wanted, people_count(party), nights)
    return Bookings(
        key=keys,
        client_key=client,
        country=country,
        client_birth=born,
        booked_at=booked,
        recorded_at=recorded,
        service_date=service,
        nights=np.where(canary, 4, nights),
        procedure=procedure,
        has_health=wanted.has_health | canary,
        has_travel=wanted.has_travel | canary,
        second_procedure=np.where(canary, -1, wanted.second),
        price_minor=in_currency(draws, keys, np.where(canary, 2350.0 + keys % 100, price), country),
        currency=country,
        has_card=(draws.uniform("card", keys) < 0.7) | (slots(keys) >= TROUBLE_SLOT),
        party=party,
    )


def _canary_countries(keys: Ints, canary: Bools, country: Ints) -> Ints:
    codes = people.atlas().codes
    cohort = (slots(keys) - CANARY_SLOT) % 2
    return np.where(canary, np.where(cohort == 0, codes.index("SE"), codes.index("NO")), country)


def instants(plan: Plan, keys: Ints) -> tuple[Ints, Ints]:
    """Return when the first version is recorded, and when it was booked: seconds before, for one in thirty up to
    days.
    """
    draws, number = plan.draws("bookings"), day_numbers(keys)
    begin, end = days.begins_by_number(number), days.ends_by_number(number)
    at = days.instants_by_number(number, draws.uniform("recorded", keys), days.BOOKING_HOURS)
    turning = turns_eighteen(plan, keys)
    at = np.where(turning, np.maximum(at, begin + 4 * days.HOUR), at)
    recorded = np.clip(at, begin + 2 * days.MINUTE, end)
    short = 2 * days.SECOND + (-np.log1p(-draws.uniform("delay", keys)) * 60 * days.SECOND).astype(np.int64)
    long = days.HOUR + (draws.uniform("delay/long", keys) * 70 * days.HOUR).astype(np.int64)
    late = (draws.uniform("delay/late", keys) < 0.03) & ~repeats(plan, keys) & (slots(keys) < TROUBLE_SLOT) & ~turning
    booked = np.where(late, recorded - long, np.maximum(recorded - np.minimum(short, 20 * days.MINUTE), begin + 1))
    return recorded, booked


def turns_eighteen(plan: Plan, keys: Ints) -> Bools:
    """Tell which clients book for the first time on the day on which they turn 18."""
    return (
        (plan.draws("clients").uniform("eighteen", keys) < 0.003) & (slots(keys) < TROUBLE_SLOT) & ~repeats(plan, keys)
    )


def client_births(plan: Plan, client: Ints) -> Dates:
    """Return the birth date of each client (by home key): an adult whenever booking."""
    home = np.datetime64("2000-01-01") + day_numbers(client).astype("m8[D]")
    draws = plan.draws("clients")
    apart = slots(client) >= TROUBLE_SLOT
    born = np.where(apart, people.adult_births(draws, client, home, 25), people.adult_births(draws, client, home))
    same_age = days.years_before(home, 44) + (draws.below("canary/age", client, 300) - 150).astype("m8[D]")
    born = np.where(slots(client) >= CANARY_SLOT, same_age, born)
    return np.where(turns_eighteen(plan, client), days.years_before(home, 18), born)


def leads(draws: Draws, keys: Ints, booked: Dates) -> Ints:
    """Return days from booking to service, 0 to 400, towards the months that people want and away from weekends."""
    lead = np.exp(3.65 + 1.05 * draws.normal("lead", keys))
    lead = np.where(draws.uniform("lead/soon", keys) < 0.05, 4 * draws.uniform("lead/days", keys), lead)
    found = np.minimum(lead, LONGEST_LEAD - 45).astype(np.int64)
    wanted = np.array(words("catalogue")["season"])
    month = (booked + found.astype("m8[D]")).astype("M8[M]").astype(np.int64) % 12
    unwanted = (draws.uniform("lead/season", keys) * wanted.max() > wanted[month]) & (found > 10)
    found = found + np.where(unwanted, 30 + draws.below("lead/shift", keys, 12), 0)
    weekday = days.weekdays(booked + found.astype("m8[D]"))
    moved = (weekday >= 5) & (draws.uniform("lead/weekend", keys) < 0.8)
    return np.asarray(found + np.where(moved, 7 - weekday, 0), dtype=np.int64)


def _procedures(draws: Draws, keys: Ints, canary: Bools) -> Ints:
    """Canaries take turns through one procedure of each of the first five specialties."""
    turn = ((slots(keys) - CANARY_SLOT) // 2) % 5
    of_turn = np.array([int(np.flatnonzero(procedures().specialty == n)[0]) for n in range(5)])
    drawn = draws.choice("procedure", keys, procedures().shares)
    return np.where(canary, of_turn[np.where(canary, turn, 0)], drawn)


def _parties(plan: Plan, draws: Draws, keys: Ints, canary: Bools) -> Ints:
    drawn = draws.choice("party", keys, PARTY_SHARES)
    cohort = (slots(keys) - CANARY_SLOT) % 2
    party = np.where(canary, np.where(cohort == 0, ALONE_PARTY, CHILD_ALONG_PARTY), drawn)
    troubled = (slots(keys) >= TROUBLE_SLOT) & ~canary
    for place in np.flatnonzero(troubled):
        planned = kinds.booking_kinds_on(plan, days.day_of(int(day_numbers(keys[place : place + 1])[0])))
        kind = planned[int(slots(keys[place : place + 1])[0]) - TROUBLE_SLOT]
        party[place] = CHILD_PARTY if kind in kinds.MINOR_KINDS else int(drawn[place]) % 2
    return np.asarray(party, dtype=np.int64)


def people_count(party: Ints) -> Ints:
    """Return how many travel in each party."""
    return np.array([1, 2, 2, 2, 2, 3, 3, 4, 2, 3, 2], dtype=np.int64)[party]


@dataclass(frozen=True)
class Services:
    """What is booked: procedures, the second one -1 where there is none, and whether there are services of each
    kind.
    """

    procedure: Ints
    second: Ints
    has_health: Bools
    has_travel: Bools


def services(draws: Draws, keys: Ints, procedure: Ints) -> Services:
    """Return what is booked about a procedure."""
    only_travel = draws.uniform("only_travel", keys) < 0.03
    has_travel = only_travel | (draws.uniform("travel", keys) < 0.62)
    specialty = procedures().specialty
    neighbour = np.minimum(procedure + 1, len(specialty) - 1)
    both = (draws.uniform("second", keys) < 0.08) & ~only_travel & (specialty[neighbour] == specialty[procedure])
    second = np.where(both & (neighbour != procedure), neighbour, -1)
    return Services(procedure, second, ~only_travel, has_travel)


def nights_of(draws: Draws, keys: Ints, procedure: Ints) -> Ints:
    """Return the nights of the stay."""
    fewest, most = procedures().fewest_nights[procedure], procedures().most_nights[procedure]
    return np.asarray(fewest + draws.below("nights", keys, most - fewest + 1), dtype=np.int64)


def prices(draws: Draws, keys: Ints, wanted: Services, many: Ints, nights: Ints) -> Floats:
    """Return the price in EUR: log-normal about the procedure's median, and travel by person and night."""
    of_second = np.where(wanted.second >= 0, procedures().prices[np.maximum(wanted.second, 0)], 0.0)
    median = procedures().prices[wanted.procedure] + of_second
    health = np.where(wanted.has_health, median * np.exp(0.25 * draws.normal("price", keys)), 0.0)
    fare = (180.0 + 320.0 * draws.uniform("fare", keys)) * many + 70.0 * nights
    return np.asarray(health + np.where(wanted.has_travel, fare, 0.0), dtype=np.float64)


def in_currency(draws: Draws, keys: Ints, euros: Floats, country: Ints) -> Ints:
    """Return prices in minor units of each country's currency, most of them round; never above 400,000 units."""
    exchange = words("catalogue")["exchange"]
    rate = np.array([exchange[code] for code in people.atlas().currencies])[country]
    units = np.clip(np.round(euros * rate), 1, 400_000).astype(np.int64)
    odd = draws.uniform("price/minor", keys) < 0.15
    return np.asarray(units * 100 + np.where(odd, draws.below("price/cents", keys, 100), 0), dtype=np.int64)
