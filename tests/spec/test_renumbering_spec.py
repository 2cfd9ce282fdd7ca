"""Who is who in the versions of a booking: as a table, each row a version, minors in small letters."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from governance.renumbering import Party, Place, Traveller

pytestmark = [pytest.mark.clause("L3")]

BORN = date(2010, 1, 1)


def traveller(version: int, number: int, told: str) -> Traveller:
    """`li`: a minor; `LI`: an adult of the same name; `li:7`: born seven days later; `-:7`: without a name."""
    name, _, days = told.partition(":")
    born = None if days == "?" else BORN + timedelta(days=int(days or 0)) - timedelta(days=9000) * name.isupper()
    return Traveller(version, number, name.lower().strip("-"), born, not name.isupper())


def party(*versions: str) -> Party:
    """One text per version, with its travellers in the order of their numbers; `.` where nobody is."""
    return Party(
        tuple(
            traveller(version, number, told)
            for version, row in enumerate(versions, start=1)
            for number, told in enumerate(row.split(), start=1)
            if told != "."
        )
    )


@pytest.mark.parametrize(
    ("versions", "minor", "found"),
    [
        (["ASA li"], (1, 2), {(1, 2)}),
        (["ASA li", "ASA li"], (1, 2), {(1, 2), (2, 2)}),
        (["ASA li", "li ASA"], (2, 1), {(1, 2), (2, 1)}),
        (["ASA li", "li ASA", "ASA BO li"], (3, 3), {(1, 2), (2, 1), (3, 3)}),
        (["ASA li", "ASA BO"], (1, 2), {(1, 2)}),
        (["ASA li", "ASA kim:5"], (1, 2), {(1, 2)}),  # another minor has the number
        (["ASA li", "ASA LI"], (1, 2), {(1, 2)}),  # an adult of the same name is never reached
        (["ASA LI", "ASA li"], (2, 2), {(2, 2)}),
        (["ASA li", "ASA lisa"], (1, 2), {(1, 2), (2, 2)}),  # spelt otherwise, under the same number and birth date
        (["ASA li", "lisa ASA"], (1, 2), {(1, 2)}),  # nothing but a birth date in common
        (["ASA li", "ASA li:9"], (1, 2), {(1, 2), (2, 2)}),  # a birth date that was mended
        (["ASA li:?", "li ASA"], (1, 2), {(1, 2), (2, 1)}),
        (["ASA li ka", "ASA ka"], (1, 2), {(1, 2)}),  # twins, of whom the other one moved up
        (["ASA li ka", "ASA ka"], (1, 3), {(1, 3), (2, 2)}),
        (["ASA ka", "ASA li ka"], (2, 2), {(2, 2)}),
        (["ASA li li:9", "ASA li:9"], (1, 2), {(1, 2)}),  # namesakes who travel together
        (["ASA li li:9", "li:9 li"], (1, 2), {(1, 2), (2, 2)}),
        (["ASA li", "li ASA", "lisa ASA"], (1, 2), {(1, 2), (2, 1), (3, 1)}),  # by way of a version between
        (["ASA -", "ASA -"], (1, 2), {(1, 2), (2, 2)}),  # without a name, the number tells
        (["ASA -", "ASA li"], (1, 2), {(1, 2), (2, 2)}),
        (["ASA -", "- ASA"], (1, 2), {(1, 2)}),
        (["ASA .", "ASA li"], (1, 2), {(1, 2), (2, 2)}),  # gone from the source: the number tells
        (["ASA .", "li ASA"], (1, 2), {(1, 2)}),
        ([], (1, 2), {(1, 2)}),
    ],
    ids=str,
)
def test_a_minor_is_found_in_every_version_by_the_number_there(
    versions: list[str], minor: Place, found: set[Place]
) -> None:
    assert party(*versions).everywhere([minor]) == found


@pytest.mark.parametrize(
    ("versions", "adults", "is_among"),
    [
        (["ASA li", "ASA LI"], {(2, 1), (2, 2)}, True),  # the birth date was a mistake
        (["ASA li", "LI ASA"], {(2, 1), (2, 2)}, True),
        (["ASA li", "ASA BO"], {(2, 1), (2, 2)}, False),
        (["LI li", "LI"], {(2, 1)}, False),  # a parent of the same name, who stands beside
        (["LI li", "ASA LI"], {(2, 1), (2, 2)}, False),
        (["ASA .", "ASA BO"], {(2, 1), (2, 2)}, True),  # gone from the source: the number tells
        (["ASA li", "ASA ."], {(2, 1), (2, 2)}, True),
        (["ASA li"], set(), False),
    ],
    ids=str,
)
def test_whoever_is_an_adult_by_now_is_told_from_others_under_the_number(
    versions: list[str], adults: set[Place], is_among: bool
) -> None:
    assert party(*versions).is_among((1, 2), adults) is is_among
