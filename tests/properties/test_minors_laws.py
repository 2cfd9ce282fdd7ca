"""Laws of who may travel and of who begins anew, against slow definitions that one can read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import policy as policies
from governance.judging import passing
from governance.subjects import begun_anew, renamed
from governance.validation import load_suite

TRAVELLERS = policies.load().dataset("bookings").landed["booking_travellers"]
SUITE = load_suite("bookings")
BOOKED = datetime(2026, 3, 10, 11, tzinfo=UTC)
NEAR_18 = st.dates(date(2008, 2, 20), date(2008, 3, 20)) | st.dates(date(1880, 1, 1), date(2027, 1, 1))
INSTANTS = st.none() | st.timedeltas(timedelta(days=-20), timedelta(days=2)).map(lambda lead: BOOKED + lead)


def years(born: date, on: date) -> int:
    """Birthdays after birth up to a day; of whoever was born on 29 February, on 1 March in common years."""

    def birthday(year: int) -> date:
        try:
            return born.replace(year=year)
        except ValueError:
            return date(year, 3, 1)

    return on.year - born.year - (on < birthday(on.year))


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """A traveller, the first service, and the best consent, if there is one."""
    given = draw(INSTANTS)
    consents = draw(st.booleans())
    return {
        "row_key": "1/1/1",
        "booking_travellers.birth_date": draw(st.none() | NEAR_18),
        "bookings.booked_at": BOOKED,
        "booked_date": BOOKED.date(),
        "first_service_date": draw(st.none() | st.dates(date(2026, 2, 20), date(2026, 6, 1))),
        "guardian_consents.consent_id": 1 if consents else None,
        "guardian_consents.given_at": given if consents else None,
        "guardian_consents.verified_at": draw(INSTANTS) if consents else None,
        "guardian_consents.guardian_birth_date": draw(st.none() | NEAR_18) if consents else None,
        "consent_date": given.date() if consents and given else None,
        "is_own_consent": draw(st.booleans()) if consents else None,
        "is_nameless_consent": draw(st.booleans()) if consents else None,
        "is_withdrawn_consent": draw(st.booleans()) if consents else None,
    }


TYPES = {
    "row_key": pa.string(), "consent_id": pa.int64(), "booked_at": pa.timestamp("us", "UTC"),
    "given_at": pa.timestamp("us", "UTC"), "verified_at": pa.timestamp("us", "UTC"), "is_own_consent": pa.bool_(),
    "is_nameless_consent": pa.bool_(), "is_withdrawn_consent": pa.bool_(),
}  # fmt: skip


def may_travel(row: dict[str, Any]) -> bool:
    """The policy's words: an adult on each day, or a minor with a sound consent of another adult from before it."""
    born = row["booking_travellers.birth_date"]
    if born is None or not 0 <= years(born, row["booked_date"]) <= 110:
        return False
    service = row["first_service_date"]
    days = [row["booked_date"], *([service] if service else [])]
    if all(years(born, day) >= 18 for day in days):
        return True
    given, verified = row["guardian_consents.given_at"], row["guardian_consents.verified_at"]
    guardian = row["guardian_consents.guardian_birth_date"]
    if row["guardian_consents.consent_id"] is None or given is None or verified is None or guardian is None:
        return False
    is_before = given < BOOKED and verified < BOOKED
    is_another = not row["is_own_consent"] and not row["is_nameless_consent"]
    is_another_adult = is_another and 18 <= years(guardian, row["consent_date"]) <= 110
    return is_before and is_another_adult and not row["is_withdrawn_consent"]


@pytest.mark.clause("L1")
@pytest.mark.clause("L2")
@given(situations())
def test_whoever_the_rules_accept_may_travel_and_nobody_else_is_accepted(row: dict[str, Any]) -> None:
    columns = {name: pa.array([value], TYPES.get(name.rpartition(".")[2], pa.date32())) for name, value in row.items()}
    accepted = passing(pa.record_batch(columns), "booking_travellers", TRAVELLERS, SUITE, ("L1", "L2"))
    over_age_with_consent = (  # an elder adult needs no consent, and one of an impossible guardian tells of a mistake
        row["guardian_consents.consent_id"] is not None
        and row["guardian_consents.guardian_birth_date"] is not None
        and row["consent_date"] is not None
        and years(row["guardian_consents.guardian_birth_date"], row["consent_date"]) > 110
    )
    if not over_age_with_consent:
        assert bool(accepted) == may_travel(row)
    else:
        assert not accepted or may_travel(row)


START = datetime.combine(date(2026, 1, 1), time(), UTC)
MOMENTS = st.integers(0, 400).map(lambda hours: START + timedelta(hours=hours))


@pytest.mark.clause("L3")
@given(
    erased=st.lists(MOMENTS, min_size=1, max_size=4, unique=True).map(sorted),
    accepted=st.lists(MOMENTS, max_size=6, unique=True).map(sorted),
    began=MOMENTS,
)
def test_no_record_from_before_an_erasure_is_ever_of_a_living_subject(
    erased: list[datetime], accepted: list[datetime], began: datetime
) -> None:
    """Whoever lives at an erasure ends with it; each erasure ends the subject that was there."""
    ends: dict[str, datetime] = {}
    for at in erased:  # the history, told one erasure after the other
        subject = begun_anew(["client 1"], lambda names: {n: ends[n] for n in names if n in ends}, {"client 1": [
            moment for moment in accepted if moment <= at]}).get("client 1")  # fmt: skip
        scope = "client 1" if "client 1" not in ends else subject.scope if subject else None
        if scope is not None:
            ends[scope] = at

    def ended(names: Collection[str]) -> dict[str, datetime]:
        return {name: ends[name] for name in names if name in ends}

    living = begun_anew(["client 1"], ended, {"client 1": accepted})
    scopes = renamed(pa.array(["client 1"]), pa.array([began], pa.timestamp("us", "UTC")), living)
    is_dropped = scopes[0].as_py() in ends
    last_end = max(ends.values())
    following = [moment for moment in accepted if moment > last_end]
    assert is_dropped == (not following or began < following[0])
