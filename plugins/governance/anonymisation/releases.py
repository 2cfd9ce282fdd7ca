"""A release: what is published of one partition, and what was decided about each accepted row (clause E1). Pure.

What a release protects against: singling out by the published quasi-identifiers (every class holds at least k
distinct people), and learning the one sensitive value of a class (at least l distinct ones). What it does not protect
against: skewed classes, what several releases together tell about a person who is in more than one of them, and
whoever knows the sensitive value of all others in a class. It is therefore called anonymised only within one release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import pandas as pd

from governance.anonymisation.bias import Offered
from governance.anonymisation.levels import (
    domain,
    lead_time,
    party_size,
    price_band,
    specialty,
    stay_length,
    subregion,
    value,
)
from governance.anonymisation.risk import Risk, class_measures, risk
from governance.datasets import Release as Specification
from governance.errors import DisclosureError


@dataclass(frozen=True)
class Release:
    """A release that holds its measures: rows as published, one decision per accepted row, and the measures."""

    rows: pd.DataFrame  # the columns of the published table, in policy's order
    decisions: pd.DataFrame | None  # row_key, accepted_partition, decision; None where they are noted already
    risk: Risk
    spent: Mapping[str, float] = field(default_factory=dict)  # of budgets, where counts carry noise: epsilon, delta
    offered: Offered | None = None  # what could have been published, where its bias may be told (bias.py)


def bookings(accepted: pd.DataFrame, specification: Specification, day: date, *, k: int, l: int) -> Release:  # noqa: E741
    """A release of booking events: one row per booking, its last event of those accepted, in classes of k people and l
    values.

    `accepted`: row_key, partition_key, booking_id, version, client_token, status, client_country_code,
    travellers_count, lead_days, nights_count, price_amount_minor, currency_code, procedure_code (in clear, only here).
    Raises DisclosureError when the rows to be published do not hold k and l.
    """
    newest = accepted.groupby("booking_id")["version"].transform("max") == accepted["version"]
    last = accepted[newest]
    rows = pd.DataFrame(
        {
            "recorded_date": pd.Series(day.isoformat(), index=last.index, dtype="str"),
            "booking_event": value(last["status"]),
            "origin_region": subregion(last["client_country_code"]),
            "party_size": party_size(last["travellers_count"]),
            "lead_time": lead_time(last["lead_days"]),
            "stay_length": stay_length(last["nights_count"]),
            "service_specialty": specialty(last["procedure_code"], specification.columns["service_specialty"].values),
            "price_band": price_band(last["price_amount_minor"], last["currency_code"]),
        }
    )[list(specification.columns)]
    people = last[specification.person]
    quasi, sensitive = specification.of_kind("quasi_identifier"), specification.of_kind("sensitive")
    safe = in_classes(rows, quasi, sensitive, people, k=k, l=l)
    published = rows[safe]
    within_domains(published, specification)
    measured = require(published, quasi, sensitive, people[safe], k=k, l=l)
    decision = pd.Series("superseded", index=accepted.index).where(~newest, "suppressed")
    decision[published.index] = "published"
    # The order of rows would tell who came first; sorted by what is published it tells nothing.
    return Release(
        published.sort_values(list(specification.columns), ignore_index=True),
        _decisions(accepted, decision),
        measured,
        offered=Offered(rows, pd.DataFrame({name: safe for name in rows.columns}), people),
    )


def visits(cells: pd.DataFrame, specification: Specification, day: date, *, k: int) -> Release:
    """A release of counts with noise: cells that are published because k people are in them, looked at once more.

    `cells`: the quasi-identifiers, `count`, `low`, `high`, the exact `people`, and `is_known`: the cell is published
    whoever is in it (`anonymisation/counted.py`). Raises DisclosureError when another one does not hold k, or a label
    is none of policy's.
    """
    open_cells = cells[~cells["is_known"].astype(bool)]
    smallest = int(open_cells["people"].min()) if len(open_cells) else None
    if smallest is not None and smallest < k:
        raise DisclosureError(
            f"a cell of {smallest} visitors was about to be published, policy asks for {k}; nothing was published"
        )
    names = (*specification.of_kind("noisy_count"), *specification.of_kind("bound"))
    told = cells.rename(columns=dict(zip(("count", "low", "high"), names, strict=True)))
    rows = told.assign(recorded_date=day.isoformat())[list(specification.columns)]
    within_domains(rows, specification)
    return Release(rows, None, Risk(smallest, None))


def in_classes(  # noqa: PLR0913 -- a table, what its columns are, and the two measures
    rows: pd.DataFrame,
    quasi: Sequence[str],
    sensitive: Sequence[str],
    people: pd.Series,
    *,
    k: int,
    l: int,  # noqa: E741
) -> pd.Series:
    """Which rows may be published: those whose class holds k people and l values of every sensitive column."""
    if rows.empty:
        return pd.Series(False, index=rows.index, dtype=bool)
    measured = class_measures(rows, quasi, sensitive, people)
    return (measured["k"] >= k) & (measured["l"] >= l)


def require(  # noqa: PLR0913 -- as above
    rows: pd.DataFrame,
    quasi: Sequence[str],
    sensitive: Sequence[str],
    people: pd.Series,
    *,
    k: int,
    l: int,  # noqa: E741
) -> Risk:
    """Measure the very rows that would be published. Raises DisclosureError when they do not hold k and l."""
    measured = risk(rows, quasi, sensitive, people)
    if measured.k is not None and measured.k < k:
        raise DisclosureError(
            f"a class of {measured.k} people was about to be published, policy asks for {k}; nothing was published"
        )
    if measured.l is not None and measured.l < l:
        raise DisclosureError(
            f"a class with {measured.l} sensitive values was about to be published, policy asks for {l}; "
            f"nothing was published"
        )
    return measured


def within_domains(rows: pd.DataFrame, specification: Specification) -> None:
    """Refuse any text that policy does not list for its column: no source text reaches analysts by way of a label.

    Raises DisclosureError naming column and count, never the text.
    """
    for name, column in specification.columns.items():
        allowed = domain(column)
        strange = 0 if allowed is None else int((~rows[name].isin(allowed)).sum())
        if strange:
            raise DisclosureError(
                f"column {name}: {strange} rows with a value that policy does not list were about to be published; "
                f"nothing was published"
            )


def _decisions(accepted: pd.DataFrame, decision: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {"row_key": accepted["row_key"], "accepted_partition": accepted["partition_key"], "decision": decision}
    )
