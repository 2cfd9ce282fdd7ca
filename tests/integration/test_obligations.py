"""What was shared and may not be used any more is owed by a date, an alarm from then on, and met on the record."""

from __future__ import annotations

from datetime import timedelta

import pytest

import builders
from aftermath import entries, governance
from builders import NOW, World
from governance import steps
from governance.embedded.site import Site
from governance.errors import AlarmError, InputError

pytestmark = [pytest.mark.pg, pytest.mark.clause("L3"), pytest.mark.clause("L2")]

TERM = timedelta(days=7)


@pytest.fixture
def owing(here: Site, world: World) -> Site:
    """One delivery of an erased minor's booking, owed since `NOW`."""
    builders.delivered(here, "d1", "1/1")
    builders.read(here, "INSERT INTO sharing.obligations VALUES ('d1', 'erased', %s)", NOW)
    return here


@pytest.mark.parametrize(("before", "is_late"), [(timedelta(seconds=1), False), (timedelta(0), True)], ids=str)
def test_an_obligation_that_is_past_due_is_an_alarm_until_it_is_met(
    owing: Site, before: timedelta, is_late: bool
) -> None:
    at = builders.workspace(owing, now=NOW + TERM - before)
    if is_late:
        with pytest.raises(AlarmError, match="L3 obligations to recipients: 1 are past due and not met"):
            steps.watch(at, "obligations", builders.run())
        steps.meet_obligation(at, "d1", "erased", "ack 3", builders.run())
    steps.watch(at, "obligations", builders.run())
    states = [entry["details"]["state"] for entry in entries(owing, "alarm", "outcome")]
    assert states == (["raised", "cleared"] if is_late else [])


def test_an_obligation_is_met_once_with_its_entry(owing: Site) -> None:
    at = builders.workspace(owing, now=NOW + timedelta(days=1))
    for wrong in (("d2", "erased"), ("d1", "consent withdrawn")):
        with pytest.raises(InputError, match="no such obligation is open"):
            steps.meet_obligation(at, wrong[0], wrong[1], "ack 3", builders.run())  # type: ignore[arg-type]
    steps.meet_obligation(at, "d1", "erased", "ack 3", builders.run())
    with pytest.raises(InputError, match="no such obligation is open"):
        steps.meet_obligation(at, "d1", "erased", "ack 4", builders.run())
    met = builders.read(owing, "SELECT met_at FROM sharing.obligations")
    assert met == [(NOW + timedelta(days=1),)]
    told = [entry for entry in entries(owing, "meet_obligation", "outcome") if entry["outcome"] == "passed"]
    assert [(entry["reason"], entry["details"]) for entry in told] == [
        ("ack 3", {"delivery": "d1", "obligation": "erased"})
    ]


def test_a_person_lists_what_is_owed_and_notes_that_a_recipient_was_told(
    owing: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert governance("retention", "obligations") == 0
    out = capsys.readouterr().out
    assert "d1" in out
    assert "clinic" in out
    assert f"{NOW + TERM:%Y-%m-%d %H:%M}" in out
    assert governance("retention", "fulfil", "d1", "--reason", "erased", "--how", "ack 3") == 0
    assert governance("retention", "fulfil", "d1", "--reason", "erased", "--how", "ack 3") == 65
    capsys.readouterr()
    assert governance("retention", "obligations") == 0
    assert "met " in capsys.readouterr().out
