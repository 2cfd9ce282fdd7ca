"""What changed between two releases is told in words, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from governance import policy as policies
from governance.policy import Policy
from governance.precision import Note, notes, settings

pytestmark = pytest.mark.clause("E1")

POLICY = policies.load()


def changed(policy: Policy = POLICY, column: dict[str, Any] | None = None, **values: Any) -> Policy:
    """A policy with other open values, or another party_size."""
    opened = {name: policy.open_values[name].model_copy(update={"value": value}) for name, value in values.items()}
    spec = policy.dataset("bookings")
    columns = dict(spec.release.columns)
    columns["party_size"] = columns["party_size"].model_copy(update=column or {})
    dataset = spec.model_copy(update={"release": spec.release.model_copy(update={"columns": columns})})
    update = {"open_values": {**policy.open_values, **opened}, "datasets": {**policy.datasets, "bookings": dataset}}
    return policy.model_copy(update=update)


def told(policy: Policy) -> list[str]:
    return [note.told for note in notes(settings(POLICY, "bookings"), settings(policy, "bookings"))]


CHANGES = {
    "nothing": (changed(), []),
    "larger groups": (changed(k=12), ["k: rose from 10 to 12; groups are larger: more is suppressed or coarser"]),
    "smaller groups": (changed(k=5), ["k: fell from 10 to 5; groups are smaller: less is suppressed or coarser"]),
    "more mixed groups": (
        changed(l=3), ["l: rose from 2 to 3; groups are more mixed: more is suppressed or coarser"]),
    "a value that says nothing of precision": (changed(merge_delay_minutes=60), []),
    "a description": (changed(column={"description": "Other words."}), []),
    "other bands of a column": (
        changed(column={"bands": {"1": 0, "2+": 2}}),
        ["column bookings.party_size: was kind quasi_identifier; level party_size; type text; bands 1 from 0, 2 from "
         "2, 3+ from 3; is kind quasi_identifier; level party_size; type text; bands 1 from 0, 2+ from 2 from this "
         "release on"]),
    "other values of a column": (
        changed(column={"bands": {}, "values": ("1", "2+")}),
        ["column bookings.party_size: was kind quasi_identifier; level party_size; type text; bands 1 from 0, 2 from "
         "2, 3+ from 3; is kind quasi_identifier; level party_size; type text; values 1, 2+ from this release on"]),
    "rows that wait for longer": (
        changed(bookings_release={**POLICY.value("bookings_release"), "delay": 10}),
        ["bookings_release.delay: rose from 7 to 10; rows may be held longer"]),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_policy_is_told(what: str) -> None:
    policy, said = CHANGES[what]
    assert told(policy) == said


def test_another_hierarchy_is_told_to_the_datasets_that_read_it() -> None:
    texts = {
        "0" * 64 if name.endswith("country.csv") else digest: (name, text)
        for digest, (name, text) in POLICY.texts.items()
    }
    other = POLICY.model_copy(update={"texts": texts})
    assert [note.what for note in notes(settings(POLICY, "bookings"), settings(other, "bookings"))] == [
        "hierarchy country"
    ]


def test_what_comes_and_what_goes_is_told_as_such() -> None:
    assert notes({"a.epsilon": "1", "gone": "x"}, {"a.epsilon": "0.5", "new": "y"}) == [
        Note("a.epsilon", "1", "0.5", "a.epsilon: fell from 1 to 0.5; counts are noisier"),
        Note("gone", "x", None, "gone: no longer there; it was x"),
        Note("new", None, "y", "new: new from this release on, y"),
    ]


def test_the_settings_of_a_release_name_its_measures_and_every_column() -> None:
    for name, dataset in POLICY.datasets.items():
        found = settings(POLICY, name)
        assert {*dataset.release.precise_by} <= {said.split(".")[0] for said in found}
        assert {f"column {dataset.release.table}.{column}" for column in dataset.release.columns} <= found.keys()
        assert not [value for value in found.values() if not isinstance(value, str) or not value]
