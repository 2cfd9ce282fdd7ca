"""A release: what is published of one partition, and what was decided about each accepted row (clause E1). Pure.

Bookings are released by `daily`: what it promises and what it leaks stands there. Rows that cannot be published finely
enough yet are held: nothing is decided about them, and the next release has them again. What a release does not protect
against: skewed classes, and whoever knows the sensitive value of all others in a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd

from governance.anonymisation import daily
from governance.anonymisation.bias import Offered
from governance.anonymisation.composition import Published
from governance.anonymisation.daily import PUBLISHED, SUPPRESSED, Pool, Rules, Terms
from governance.anonymisation.levels import domain, euros, specialty
from governance.anonymisation.quasi_identifiers import QuasiIdentifier, quasi_identifiers
from governance.anonymisation.recoding import Protection
from governance.anonymisation.risk import Risk, risk
from governance.anonymisation.signatures import NONE, WORD, Ledger, opened, words
from governance.datasets import Release as Specification
from governance.errors import DisclosureError

SPECIALTY = "service_specialty"


@dataclass(frozen=True)
class Daily:
    """What a release of bookings leaves behind: for the ledger, and for the attack on it and all earlier ones."""

    remembered: Ledger
    published: Published
    returning: np.ndarray  # uint64: people of the release who were published before
    held: int


@dataclass(frozen=True)
class Release:
    """A release that holds its measures: rows as published, one decision per decided row, and the measures."""

    rows: pd.DataFrame  # the columns of the published table, in policy's order
    decisions: pd.DataFrame | None  # row_key, accepted_partition, decision; None where they are noted already
    risk: Risk
    spent: Mapping[str, float] = field(default_factory=dict)  # of budgets, where counts carry noise: epsilon, delta
    offered: Offered | None = None  # what could have been published, where its bias may be told (bias.py)
    figures: Mapping[str, float] = field(default_factory=dict)  # for the run log: loss, delay, who was left out
    daily: Daily | None = None


@dataclass(frozen=True)
class Model:
    """How a table is released day by day: its quasi-identifiers, and what holds on every day."""

    specification: Specification
    quasi: tuple[QuasiIdentifier, ...]
    rules: Rules


def model(specification: Specification, *, k: int, l: int, terms: Mapping[str, float]) -> Model:  # noqa: E741
    """The model that policy declares. `terms`: its open value of the terms (`daily.Terms`)."""
    quasi = quasi_identifiers(specification)
    sensitive = {name: specification.columns[name].values for name in specification.of_kind("sensitive")}
    asked = Terms(int(terms["delay"]), float(terms["threshold"]), float(terms["worth"]), float(terms["ceiling"]),
                  int(terms["steps"]))  # fmt: skip
    return Model(specification, quasi, Rules(tuple(one.domain for one in quasi), sensitive, Protection(k, l), asked))


def bookings(accepted: pd.DataFrame, of: Model, day: date, ledger: Ledger, seed: int) -> Release:
    """A release of booking events: one row per booking, its last event of those accepted, in classes of k people and l
    values, as far as they lose little; see `daily`.

    `accepted`: what `coded` needs, row_key, partition_key, booking_id, version, row_number, person_number (`keyed`).
    Raises DisclosureError when the rows to be published do not hold k and l.
    """
    newest = accepted.groupby("booking_id")["version"].transform("max") == accepted["version"]
    last = accepted[newest].sort_values("row_number", ignore_index=False)
    pool = coded(last, of)
    found = daily.release(pool, ledger, of.rules, day.toordinal(), seed)
    out = np.flatnonzero(found.fate == PUBLISHED)
    rows = _labelled(last, of, found, day)
    published = rows.iloc[out]
    within_domains(published, of.specification)
    quasi, sensitive = of.specification.of_kind("quasi_identifier"), of.specification.of_kind("sensitive")
    people = last["person_number"]
    measured = require(published, quasi, sensitive, people.iloc[out], k=of.rules.protection.k, l=of.rules.protection.l)
    decision = pd.Series("superseded", index=accepted.index, dtype="object")
    decision[last.index] = np.array(["published", None, "suppressed"], dtype=object)[found.fate]
    is_decided = decision.notna()
    returning = np.unique(pool.person[out[found.returning[out]]])
    # The order of rows would tell who came first; sorted by what is published it tells nothing.
    return Release(
        published.sort_values(list(of.specification.columns), ignore_index=True),
        _decisions(accepted[is_decided], decision[is_decided]),
        measured,
        offered=_offered(rows, pool, of, found.fate == PUBLISHED),
        figures=_figures(pool, found, day.toordinal()),
        daily=Daily(found.remembered, _published(pool, found, out), returning, int((found.fate == daily.HELD).sum())),
    )


def coded(rows: pd.DataFrame, of: Model) -> Pool:
    """Bookings in codes: row_number, person_number, partition_key, since (when it waits, where not since the
    partition's day), and what is generalised: status,
    client_country_code, travellers_count, lead_days, nights_count, price_amount_minor, currency_code, procedure_code
    (in clear, only here). Raises PolicyError for a currency without a rate.
    """
    priced = rows.assign(price_amount_minor=euros(rows["price_amount_minor"], rows["currency_code"]))
    codes = [one.codes(priced[one.origin.partition(".")[2]]) for one in of.quasi]
    listed = {label: code for code, label in enumerate(of.rules.sensitive[SPECIALTY])}
    values = specialty(rows["procedure_code"], listed).map(listed)
    days = [day.toordinal() for day in rows.get("since", rows["partition_key"])]
    return Pool(
        rows["row_number"].to_numpy(dtype=np.uint64), rows["person_number"].to_numpy(dtype=np.uint64),
        np.column_stack(codes).astype(np.int32), values.to_numpy(dtype=np.int32)[:, None], np.array(days, np.int64),
    )  # fmt: skip


def spelt(signatures: np.ndarray, of: Model) -> list[list[str]]:
    """Signatures as texts, `column=value`: they mean the same whatever order policy lists the values in."""
    names = np.array([f"{name}={value}" for name, values in of.rules.sensitive.items() for value in values], object)
    return [names[held].tolist() for held in opened(signatures, of.rules.widths)]


def signed(texts: Sequence[Sequence[str]], of: Model) -> np.ndarray:
    """Signatures from texts. One with a value that policy does not list any more is empty, and fits no class."""
    names = [f"{name}={value}" for name, values in of.rules.sensitive.items() for value in values]
    place = {name: at for at, name in enumerate(names)}
    found = np.zeros((len(texts), words(of.rules.widths)), dtype=np.uint64)
    for row, text in enumerate(texts):
        for at in map(place.get, text) if place.keys() >= set(text) else ():
            if at is not None:
                found[row, at // WORD] |= np.uint64(1) << np.uint64(at % WORD)
    return found


def _labelled(last: pd.DataFrame, of: Model, found: daily.Release, day: date) -> pd.DataFrame:
    """The columns of all rows as they would be published; those of rows in no class mean nothing."""
    owner = np.where(found.owner == NONE, 0, found.owner)
    columns: dict[str, np.ndarray] = {"recorded_date": np.full(len(last), day.isoformat(), dtype=object)}
    for at, one in enumerate(of.quasi):
        for name, labels in one.labels(found.low[:, at], found.high[:, at]).items():
            columns[name] = labels[owner] if labels.size else np.full(len(last), None, dtype=object)
    columns[SPECIALTY] = specialty(last["procedure_code"], of.rules.sensitive[SPECIALTY]).to_numpy(dtype=object)
    return pd.DataFrame(columns, index=last.index)[list(of.specification.columns)]


def _published(pool: Pool, found: daily.Release, out: np.ndarray) -> Published:
    return Published(
        found.low, found.high, found.owner[out], pool.person[out], pool.codes[out], pool.values[out, 0].astype(np.int64)
    )


def _offered(rows: pd.DataFrame, pool: Pool, of: Model, is_published: np.ndarray) -> Offered:
    """What the rows would say if nothing were generalised or held, and what of it the release says."""
    whole = rows.copy()
    for at, one in enumerate(of.quasi):
        for name, labels in one.labels(pool.codes[:, at], pool.codes[:, at]).items():
            whole[name] = labels
    shown = rows.notna() & np.asarray(is_published)[:, None]
    return Offered(whole, shown, pd.Series(pool.person, index=rows.index))


def _figures(pool: Pool, found: daily.Release, day: int) -> dict[str, float]:
    """Loss and delay of what is published, and who was left out."""
    out, lost = found.fate == PUBLISHED, found.fate == SUPPRESSED
    told: dict[str, float] = {
        "suppressed_first": int((lost & ~found.returning).sum()),
        "suppressed_returning": int((lost & found.returning).sum()),
        "rows_returning": int((out & found.returning).sum()),
    }
    if out.any():
        delay = day - pool.day[out]
        told |= {
            "ncp": round(float(found.loss[found.owner[out]].mean()), 6),
            "delay_median": float(np.median(delay)),
            "delay_p95": float(np.percentile(delay, 95)),
        }
    return told


def noisy_counts(cells: pd.DataFrame, specification: Specification, day: date, *, k: int) -> Release:
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
        if allowed is None:
            continue
        known = rows[name].isin(allowed) | (rows[name].isna() if column.kind == "quasi_identifier" else False)
        strange = int((~known).sum())
        if strange:
            raise DisclosureError(
                f"column {name}: {strange} rows with a value that policy does not list were about to be published; "
                f"nothing was published"
            )


def _decisions(accepted: pd.DataFrame, decision: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {"row_key": accepted["row_key"], "accepted_partition": accepted["partition_key"], "decision": decision}
    )
