"""The contract with analysts: adding is allowed, and nothing else; the document is one that others can read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from governance import analytics_contract as contracts
from governance import policy as policies

pytestmark = pytest.mark.clause("E1")

NOW = contracts.contract(policies.load())


def edited(**changes: Any) -> dict[str, Any]:
    """The contract with another description, or with columns of the first table changed."""
    document = yaml.safe_load(contracts.text(NOW))
    table = document["schema"][0]
    table["description"] = changes.get("description", table["description"])
    table["properties"] += changes.get("added", [])
    table["properties"] = [p for p in table["properties"] if p["name"] != changes.get("removed")]
    return dict(document)


ADDED = {"name": "party", "logicalType": "string", "physicalType": "text"}
VERSIONS = {
    "the first": (None, NOW, "1.0.0"),
    "the same": (NOW, NOW, "1.0.0"),
    "other words": (NOW, edited(description="Other words."), "1.0.1"),
    "a column more": (NOW, edited(added=[ADDED]), "1.1.0"),
    "a column more after other words": (
        {**edited(description="x"), "version": "1.4.7"},
        edited(added=[ADDED]),
        "1.5.0",
    ),
}


@pytest.mark.parametrize("what", VERSIONS)
def test_the_version_says_whether_columns_were_added(what: str) -> None:
    before, after, version = VERSIONS[what]
    assert contracts.next_version(before, after) == version


def test_adding_breaks_nothing_and_removing_does() -> None:
    before, columns = contracts.columns(NOW), contracts.columns
    assert contracts.broken_by(before, columns(edited(added=[ADDED]))) == []
    assert contracts.broken_by(before, columns(edited(removed="party_size"))) == [
        "analytics.bookings.party_size would be removed, or renamed"
    ]
    gone = {table: known for table, known in before.items() if table != "bookings"}
    assert len(contracts.broken_by(before, gone)) == len(before["bookings"])


def test_the_contract_has_what_the_standard_requires() -> None:
    required = {"apiVersion": "v3.1.0", "kind": "DataContract", "status": "active"}
    assert required.items() <= NOW.items()
    assert NOW["id"]
    for table in NOW["schema"]:
        assert table["physicalName"] == f"analytics.{table['name']}"
        for column in table["properties"]:
            assert column["logicalType"] in {"string", "date", "timestamp", "number", "integer", "boolean"}
            assert column["description"]
        assert [c["name"] for c in table["properties"] if c["required"]] == ["recorded_date"]
