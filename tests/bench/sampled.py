"""Days of the project's own sample of bookings, as the release of bookings would get them: two sensitive columns.

A row is what a booking's last event of a day says. While the row of an earlier event is held, a later event takes its
place. Bookings with planted troubles and the canaries are left out. Countries, party sizes, days and nights are coded
as they come; the price in its band is sensitive, or a quasi-identifier with bands of bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from bench.days import Day, mixed
from governance.anonymisation import trees
from governance.anonymisation.daily import Pool, Rules, Terms
from governance.anonymisation.domains import Domain, Treatment, domain
from governance.anonymisation.hierarchies import Hierarchy, numbers
from governance.anonymisation.levels import banded, euros, specialty
from governance.anonymisation.recoding import Protection
from governance.policy import POLICY_FOLDER
from governance.sample import catalogue, people, versions
from governance.sample.bookings import people_count
from governance.sample.plan import TROUBLE_SLOT, Plan, slots

FIRST = date(2026, 3, 2)
BANDS = {
    "under 250": "under 1000", "250-499": "under 1000", "500-999": "under 1000", "1000-2499": "1000-4999",
    "2500-4999": "1000-4999", "5000 or more": "5000 and more",
} | dict.fromkeys(("under 1000", "1000-4999", "5000 and more"), "*")  # fmt: skip
LIMITS = {
    "under 250": 0, "250-499": 250, "500-999": 500, "1000-2499": 1000, "2500-4999": 2500, "5000 or more": 5000,
}  # fmt: skip
EVENTS = dict.fromkeys(("booked", "amended", "cancelled"), "*")
SPECIALTY, PRICE = "service_specialty", "price_band"


@dataclass(frozen=True)
class Sample:
    """Days of bookings, and what their columns are."""

    days: list[Day]
    domains: tuple[Domain, ...]
    sensitive: dict[str, tuple[str, ...]]

    def rules(self, k: int, terms: Terms) -> Rules:
        """k people and two values of every sensitive column."""
        return Rules(self.domains, self.sensitive, Protection(k, 2), terms)


def sample(count: int, bookings: int, price: str) -> Sample:
    """So many days of so many bookings. `price`: "sensitive" or "quasi_identifier"."""
    first, last = FIRST, FIRST + timedelta(days=count - 1)
    plan = Plan(1, bookings * count, 0, first, last, canaries=False)
    table = pd.concat([_of_day(plan, first + timedelta(days=number), number) for number in range(count)])
    table = table.reset_index(drop=True)
    hierarchies: dict[str, Hierarchy] = {
        "booking_event": trees.from_parents("booking_event", EVENTS),
        "origin": trees.from_table("country", (POLICY_FOLDER / "hierarchies" / "country.csv").read_text()),
        "party_size": numbers("party_size", [2, 8]),
        "lead_days": numbers("lead_days", [7, 28, 84]),
        "nights": numbers("nights", [2, 4, 8]),
    }
    sensitive = [SPECIALTY, PRICE] if price == "sensitive" else [SPECIALTY]
    if price != "sensitive":
        hierarchies[PRICE] = trees.from_parents(PRICE, BANDS)
    domains, codes = zip(*(_coded(table[name], of) for name, of in hierarchies.items()), strict=True)
    values = {name: np.unique(table[name], return_inverse=True) for name in sensitive}
    pool = Pool(
        mixed(np.arange(len(table))), mixed(table["client"].to_numpy()), np.column_stack(codes).astype(np.int32),
        np.column_stack([code for _, code in values.values()]).astype(np.int32), table["day"].to_numpy(np.int64),
    )  # fmt: skip
    before = (table.groupby("booking").cumcount() > 0).to_numpy()
    earlier = _previous(table, pool.row)
    nobody = np.zeros(0, dtype=np.uint64)
    days = [
        Day(pool.of(np.flatnonzero(pool.day == number)), earlier[(pool.day == number) & before], nobody)
        for number in range(count)
    ]
    return Sample(days, domains, {name: tuple(map(str, held)) for name, (held, _) in values.items()})


def _previous(table: pd.DataFrame, row: np.ndarray) -> np.ndarray:
    """Of every row, that of the booking's event before; of the first ones their own."""
    place = pd.Series(np.arange(len(table)))
    before = place.groupby(table["booking"]).shift(1).fillna(place).astype(np.int64)
    return row[before.to_numpy()]


def _of_day(plan: Plan, day: date, number: int) -> pd.DataFrame:
    bookings, feed = versions.feed_of(plan, day, plan.first)
    at, atlas = feed.booking, people.atlas()
    codes = np.array(catalogue.procedures().codes, dtype=object)[bookings.procedure[at]]
    named = pd.Series(np.where(bookings.has_health[at], codes, None))
    listed = {code.split(".")[0] for code in catalogue.procedures().codes}
    lead = (feed.service_date - bookings.booked_date[at]).astype("m8[D]").astype(np.int64)
    found = pd.DataFrame(
        {
            "day": number,
            "booking": bookings.key[at],
            "version": feed.version,
            "client": bookings.client_key[at],
            "booking_event": np.array(versions.STATUSES)[feed.status],
            "origin": np.array(atlas.codes)[bookings.country[at]],
            "party_size": people_count(bookings.party[at]),
            "lead_days": np.maximum(lead, 0),
            "nights": feed.nights,
            SPECIALTY: specialty(named, listed),
            PRICE: banded(
                euros(pd.Series(feed.price_minor), pd.Series(np.array(atlas.currencies)[bookings.currency[at]])), LIMITS
            ),
        }
    )
    ordinary = found[slots(bookings.key)[at] < TROUBLE_SLOT]
    return ordinary.sort_values("version").drop_duplicates("booking", keep="last").sort_values("booking")


def _coded(column: pd.Series, hierarchy: Hierarchy) -> tuple[Domain, np.ndarray]:
    held, code = np.unique(column.to_numpy().astype(str), return_inverse=True)
    values: Sequence[str] = held.tolist()
    one, to_domain = domain(str(column.name), values, np.bincount(code), Treatment(hierarchy, unknown="top"))
    return one, to_domain[code]
