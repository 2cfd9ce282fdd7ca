"""What a clinic gets, shown to two validators of FHIR R4, each of which finds faults that the other one misses."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from fhir_validators import Verdict, verdicts, verdicts_of
from provider_rows import HEALTH, KEY, bundles, frame, ordered, row, written

pytestmark = [pytest.mark.clause("F1"), pytest.mark.slow]

Bundle = dict[str, Any]
SOUND = Verdict([], [])

# -- faults ------------------------------------------------------------------------------------------------------------


def of(kind: str, **members: Any) -> Callable[[Bundle], None]:
    """Other members of the resource of a type; None: without that one."""

    def planted(bundle: Bundle) -> None:
        (resource,) = (e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
        resource.update(members)
        for name in [name for name, value in members.items() if value is None]:
            del resource[name]

    return planted


def on_the_bundle(**members: Any) -> Callable[[Bundle], None]:
    """Other members of the Bundle itself."""
    return lambda bundle: bundle.update(members)


def nobody_there(bundle: Bundle) -> None:
    """The participant's Patient is not in the Bundle."""
    bundle["entry"] = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != "Patient"]
    of("Provenance", target=[{"reference": bundle["entry"][0]["fullUrl"]}])(bundle)


NOON = "2026-05-04T12:00:00Z"
BOTH, MEDPLUM, LANTANA = {"medplum", "lantana"}, {"medplum"}, {"lantana"}
FAULTS: dict[str, tuple[Callable[[Bundle], None], set[str]]] = {
    "a member that R4 does not have": (of("Appointment", wellbe=True), BOTH),
    "no participant": (of("Appointment", participant=None), BOTH),
    "no status": (of("Appointment", status=None), BOTH),
    "a Provenance of nothing": (of("Provenance", target=None), BOTH),
    "a Provenance by nobody": (of("Provenance", agent=None), BOTH),
    "a Bundle of no type": (on_the_bundle(type=None), BOTH),
    "booked without an hour (app-3)": (of("Appointment", status="booked"), MEDPLUM),
    "a month 13": (of("Patient", birthDate="1980-13-01"), MEDPLUM),
    "a control character in a text": (of("Appointment", comment="\x00"), MEDPLUM),
    "nothing but a separator of lines": (of("Patient", name=[{"family": "\u2028"}]), MEDPLUM),
    "an instant without a zone": (of("Provenance", recorded="2026-03-10T04:00:00"), MEDPLUM),
    "a participant who is not there": (nobody_there, MEDPLUM),
    "a status of our own": (of("Appointment", status="amended", start=NOON, end=NOON), LANTANA),
    "a Bundle of a type of our own": (on_the_bundle(type="delivery"), LANTANA),
    "a gender of our own": (of("Patient", gender="K"), LANTANA),
}


@cache
def found() -> dict[str, Verdict]:
    """What is said of each fault, all asked at once."""
    (sound,) = bundles(row(booking_version=2, replaces_version=1, booking_status="amended"))
    planted = []
    for plant, _ in FAULTS.values():
        planted.append(copy.deepcopy(sound))
        plant(planted[-1])
    return dict(zip(FAULTS, verdicts_of(planted), strict=True))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    verdict = found()[fault]
    assert {name for name in BOTH if getattr(verdict, name)} == FAULTS[fault][1], verdict


def test_each_validator_finds_what_the_other_one_misses() -> None:
    who = [{name for name in BOTH if getattr(verdict, name)} for verdict in found().values()]
    assert MEDPLUM in who
    assert LANTANA in who


# -- what we write -----------------------------------------------------------------------------------------------------

HOSTILE = (
    None, "", " ", "\t\r\n", "\x00", "Anna\x00\x01\x1b[2J", "\u2028", "a\u2028b\u2029c\x85d", "\u00a0", "a\u00a0b",
    "\u3000山田\u3000", "\ufeff", "\ufffe\uffff", "\ufdd0x", "𝒜🦷\U0001ffff", "O\u0308berg", "Öberg", "x" * 10_000,
    "🦷" * 10_000, "\u202eabc", "a\u200db", "\\u0000", '"},{"', "<b>&amp;</b>", "=1+1", "-", "null",
    "a  b\t\tc\r\nd", "'t Hooft",
)  # fmt: skip
DAYS = (None, date(1, 1, 1), date(9, 9, 9), date(1900, 1, 1), date(2000, 2, 29), date(9999, 12, 31))


def generated(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """So many bookings with rows of what nobody should be called."""
    dice = random.Random(seed)
    texts = ("given_name", "family_name", "email", "phone", "language")
    for booking in range(count):
        version = dice.choice((None, 1, 2, 2**62))
        of_booking = {
            "booking_version": version,
            "booking_status": dice.choice((None, "booked", "amended")),
            "booking_changed_at": dice.choice(
                (None, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
            ),
        }
        for person in range(dice.choice((1, 1, 2))):
            of_person = {name: dice.choice(HOSTILE) for name in texts} | {"birth_date": dice.choice(DAYS)}
            for service in range(dice.choice((1, 1, 3))):
                of_row = {
                    "replaces_version": dice.choice((None, 1)),
                    "procedure_code": dice.choice((*HOSTILE, "dental.implant", "dental. \x00", ".")),
                    "clinical_note": dice.choice(HOSTILE),
                    "service_date": dice.choice(DAYS),
                }
                yield row(booking, service, person, **of_booking, **of_person, **of_row)


TEXT = re.compile("[\t\n\r \u0021-\u007e\u00a1-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]+")


def texts(value: Any) -> Iterator[str]:
    """Every text there is; an empty one for what is empty or null: R4 forbids it, and neither validator finds it."""
    if isinstance(value, dict | list) and value:
        for member in value.values() if isinstance(value, dict) else value:
            yield from texts(member)
    elif not isinstance(value, bool):
        yield value or ""


def test_usual_rows_are_sound() -> None:
    start = date(2026, 5, 4)
    made = (
        row(number, service, person, service_date=start + timedelta(number % 90), booking_version=2, replaces_version=1)
        for number in range(500)
        for service in range(number % 2 + 1)
        for person in range(number % 3 + 1)
    )
    said = verdicts(written(frame(ordered(made)), "fhir"))
    assert len(said) == 500
    assert set(map(str, said)) == {str(SOUND)}


def test_three_thousand_rows_of_what_nobody_should_be_called_are_sound() -> None:
    made = list(generated(1500, seed=1))
    assert len(made) > 3000
    lines = written(frame(ordered(made)), "fhir")
    said = verdicts(lines)
    assert len(said) == 1500
    strange = [
        (verdict, json.loads(line)) for verdict, line in zip(said, lines.splitlines(), strict=True) if verdict != SOUND
    ]
    assert not strange


@pytest.mark.parametrize("without", [None, *HEALTH[3:], HEALTH[3:]], ids=str)
def test_a_contract_may_leave_out_any_column(without: Any) -> None:
    left_out = without if isinstance(without, tuple) else (without,)
    columns = [name for name in HEALTH if name in KEY or name not in left_out]
    assert verdicts_of(bundles(row(), columns=columns)) == [SOUND]
