"""The record of processing activities says all that article 30(1) asks for, of every purpose, and as policy has it."""

from __future__ import annotations

import csv
import io
from datetime import date
from importlib import resources
from typing import Any

import pytest

from governance import policy as policies
from governance import processing_record
from governance.commands.record import record_of
from governance.processing_record import Activity
from governance.sharing.register import Recipient

pytestmark = [pytest.mark.clause("R1"), pytest.mark.clause("M1")]

POLICY = policies.load()
RECORD = record_of(POLICY)
BY_NAME = {one.name: one for one in RECORD}


def test_the_record_in_docs_is_current() -> None:
    kept = resources.files("governance").joinpath("docs", "processing-record.md").read_text("utf-8")
    assert kept == processing_record.markdown(RECORD), (
        "write it anew: governance record > plugins/governance/docs/processing-record.md, without a site of your own"
    )


def test_the_record_in_docs_as_csv_is_current() -> None:
    kept = resources.files("governance").joinpath("docs", "processing-record.csv").read_bytes().decode()
    assert list(csv.reader(io.StringIO(kept))) == list(csv.reader(io.StringIO(processing_record.as_csv(RECORD))))


def test_there_is_an_activity_for_every_purpose_and_each_letter_is_answered() -> None:
    assert [one.name for one in RECORD] == list(POLICY.purposes)
    for one in RECORD:
        for part in processing_record.TITLES:
            assert getattr(one, part), (one.name, part)
            assert all(text.strip() for text in getattr(one, part))
    assert {title[1] for title in processing_record.TITLES.values() if title.startswith("(")} == set("abcdefg")


def test_no_category_that_a_purpose_reads_is_missing() -> None:
    for dataset in POLICY.datasets.values():
        for table in dataset.landed.values():
            for column in table.columns.values():
                for purpose in ("intake", *column.purposes):
                    assert column.category in BY_NAME[purpose].categories


def test_no_lawful_basis_is_undecided() -> None:
    assert [one.name for one in RECORD if "undecided" in one.lawful_basis] == []
    assert any("Art. 9(2)(a)" in basis for basis in BY_NAME["contract"].lawful_basis)


def test_whose_data_it_is_is_told_by_purpose() -> None:
    assert BY_NAME["contract"].subjects == ("client", "traveller", "guardian")
    assert BY_NAME["intake"].subjects == ("client", "traveller", "guardian", "visitor")
    assert BY_NAME["saved_cards"].subjects == ("client",)


def test_time_limits_are_those_of_the_rules_of_retention() -> None:
    assert "records.payment_cards: 10 days from captured_at" in BY_NAME["saved_cards"].erasure
    assert "sharing.delivered_rows: 730 days from delivered_at" in BY_NAME["contract"].erasure


def recipient(**changes: Any) -> Recipient:
    entry = {
        "name": "North | Clinic", "kind": "health_provider", "provider_id": 101, "contract": "1.0.0",
        "agreed_from": date(2026, 1, 1), "agreed_until": date(2026, 12, 31), "country_code": "SE",
        "endpoint": "file:///srv/north", "acknowledgement_hours": 48,
    }  # fmt: skip
    return Recipient(**{**entry, **changes})


def with_recipient(**changes: Any) -> Activity:
    policy = POLICY.model_copy(update={"recipients": {"north": recipient(**changes)}})
    return next(one for one in record_of(policy) if one.name == "contract")


@pytest.mark.parametrize(
    ("changes", "transfers"),
    [
        ({}, ("none",)),
        ({"country_code": "CH"}, ("north, CH: adequacy decision, Art. 45(3)",)),
        ({"country_code": "US"}, ("north, US: none, no basis: nothing is handed over",)),
    ],
)
def test_a_registered_recipient_shows_with_its_transfer(changes: dict[str, str], transfers: tuple[str, ...]) -> None:
    one = with_recipient(**changes)
    assert one.transfers == transfers
    assert f"north: North | Clinic, {changes.get('country_code', 'SE')}" in one.recipients


def test_a_recipient_in_a_third_country_shows_with_its_safeguard() -> None:
    (told,) = with_recipient(country_code="US", transfer_basis="standard_contractual_clauses").transfers
    assert told.startswith("north, US: standard_contractual_clauses, Art. 46(2)(c)")


def test_what_markdown_reads_as_its_own_is_escaped() -> None:
    page = processing_record.markdown([with_recipient()])
    assert "North \\| Clinic" in page
    assert "booking\\_days" not in page
