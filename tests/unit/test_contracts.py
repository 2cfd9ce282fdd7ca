"""Rows as a contract says or not at all; contracts as the standard writes them; versions that keep their word."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from contract_rows import NOON, SHARING, contract, offered, row
from governance import policy as policies
from governance.errors import ContractError
from governance.sharing import contract_files
from governance.sharing.allowances import Sharing
from governance.sharing.contract_documents import contract_of, forbidden, require_allowed
from governance.sharing.contracts import (
    Contract,
    broken,
    incomplete,
    numbers,
    projected,
    unfit,
    unsound_successor,
)
from governance.sharing.texts import LONGEST

pytestmark = pytest.mark.clause("F1")

HEALTH, TRAVEL = contract("health_provider"), contract("travel_provider")
KINDS = ("health_provider", "travel_provider")

# -- rows --------------------------------------------------------------------------------------------------------------


def test_what_the_contract_does_not_name_is_not_handed_over_whatever_else_is_offered() -> None:
    rows = offered(row()).assign(card_number="4111111111111111", cookie_id="c", newsletter=True)
    assert "itinerary" in rows
    handed = projected(HEALTH, rows)
    assert not {"card_number", "cookie_id", "newsletter", "itinerary", "nights_count"} & set(handed)


def test_the_rows_that_were_offered_stay_as_they_are() -> None:
    rows = offered(row(1), row(2))
    before = rows.copy(deep=True)
    handed = projected(TRAVEL, rows)
    handed.loc[0, "given_name"] = "changed"
    pd.testing.assert_frame_equal(rows, before)


def test_values_and_their_order_are_handed_over_as_they_came() -> None:
    rows = offered(row(3, nights_count=None), row(1), row(2))
    handed = projected(TRAVEL, rows)
    pd.testing.assert_frame_equal(handed, rows[[column.name for column in TRAVEL.columns]])


@pytest.mark.parametrize("agreed", [HEALTH, TRAVEL], ids=lambda agreed: agreed.kind)
def test_no_rows_are_no_error(agreed: Contract) -> None:
    rows = offered(row()).iloc[:0]
    assert len(projected(agreed, rows)) == 0
    assert list(projected(agreed, rows)) == [column.name for column in agreed.travelling()]


def test_no_rows_of_unknown_type_are_no_error_either() -> None:
    names = [column.name for column in TRAVEL.columns]
    assert list(projected(TRAVEL, pd.DataFrame(columns=names, dtype=object))) == names


def test_rows_without_a_column_are_an_error_and_no_empty_success() -> None:
    with pytest.raises(ContractError, match="column booking_reference: is missing"):
        projected(TRAVEL, pd.DataFrame(index=range(3)))
    with pytest.raises(ContractError, match="column booking_reference: is missing"):
        projected(TRAVEL, pd.DataFrame())


@pytest.mark.parametrize("name", [column.name for column in HEALTH.columns if not column.on_request])
def test_a_column_that_is_missing_or_was_renamed_is_an_error_required_or_not(name: str) -> None:
    with pytest.raises(ContractError, match=f"column {name}: is missing"):
        projected(HEALTH, offered(row()).rename(columns={name: f"{name}_new"}))


def test_a_column_on_request_may_be_missing_until_somebody_asks_for_it() -> None:
    rows = offered(row()).drop(columns="clinical_note")
    assert "clinical_note" not in projected(HEALTH, rows)
    with pytest.raises(ContractError, match="column clinical_note: is missing"):
        projected(HEALTH, rows, ["clinical_note"])


def test_a_column_that_is_there_twice_is_an_error() -> None:
    rows = offered(row())
    with pytest.raises(ContractError, match="column given_name: is there twice"):
        projected(HEALTH, pd.concat([rows, rows[["given_name"]]], axis=1))


REQUIRED = {name: row()[name] for name in (c.name for c in HEALTH.columns if c.is_required)}


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_column_holds_no_null(name: str) -> None:
    rows = offered(row(1), row(2, **{name: None}), row(3))
    with pytest.raises(ContractError, match=rf"column {name}: required, and NULL or blank in 1 of 3 rows"):
        projected(HEALTH, rows)
    assert incomplete(HEALTH, rows).tolist() == [False, True, False]


@pytest.mark.parametrize("blank", ["", "  ", "\u00a0"])
def test_a_required_text_is_not_blank(blank: str) -> None:
    rows = offered(row(1), row(2, family_name=blank))
    with pytest.raises(ContractError, match="family_name: required, and NULL or blank in 1 of 2 rows"):
        projected(HEALTH, rows)
    assert incomplete(HEALTH, rows).tolist() == [False, True]


def test_a_required_column_that_holds_nothing_at_all_is_null_in_every_row() -> None:
    rows = offered(row(1), row(2)).assign(given_name=pd.Series([None, None], dtype=object))
    with pytest.raises(ContractError, match="given_name: required, and NULL or blank in 2 of 2 rows"):
        projected(HEALTH, rows)


@pytest.mark.parametrize("name", ["replaces_version", "email", "phone", "language", "birth_date", "clinical_note"])
def test_what_is_optional_may_be_null(name: str) -> None:
    asked = [name] if name in ("birth_date", "clinical_note") else []
    rows = offered(row(**{name: None}))
    assert projected(HEALTH, rows, asked)[name].isna().all()
    assert not incomplete(HEALTH, rows, asked).any()


def test_what_only_others_get_does_not_make_a_row_incomplete() -> None:
    assert not incomplete(TRAVEL, offered(row(procedure_code=None))).any()
    assert incomplete(HEALTH, offered(row(procedure_code=None))).all()


@pytest.mark.parametrize(
    ("changes", "is_unfit"),
    [
        ({"booking_status": "no_show"}, True),
        ({"booking_status": "amended"}, False),
        ({"clinical_note": "x" * LONGEST}, False),
        ({"clinical_note": "x" * (LONGEST + 1)}, True),
        ({"given_name": "å" * (LONGEST + 1)}, True),
        ({"email": None}, False),
        ({"itinerary": "x" * (LONGEST + 1)}, False),  # no column of a clinic's
    ],
    ids=str,
)
def test_a_row_that_could_not_be_written_as_agreed_is_known_beforehand(changes: dict[str, Any], is_unfit: bool) -> None:
    rows = offered(row(1), row(2, **changes))
    assert unfit(HEALTH, rows, ["clinical_note"]).tolist() == [False, is_unfit]


def test_of_rows_that_stand_there_twice_both_are_unfit() -> None:
    rows = offered(row(1), row(2), row(2, given_name="Bo"))
    assert unfit(HEALTH, rows).tolist() == [False, True, True]


def test_a_text_on_request_makes_no_row_unfit_for_who_does_not_ask() -> None:
    assert not unfit(HEALTH, offered(row(clinical_note="x" * (LONGEST + 1)))).any()


def arrow(values: list[Any], kind: pa.DataType) -> pd.Series[Any]:
    return pd.Series(pa.array(values, kind), dtype=pd.ArrowDtype(kind))  # type: ignore[call-overload, no-any-return]


OF_ANOTHER_TYPE: dict[str, tuple[str, Callable[[], pd.Series[Any]]]] = {
    "a number for a text": ("given_name", lambda: pd.Series([7])),
    "bytes for a text": ("given_name", lambda: arrow([b"x"], pa.binary())),
    "several types in one": ("given_name", lambda: pd.Series(["Alva", 7], dtype=object).iloc[:2]),
    "a text for a number": ("booking_version", lambda: pd.Series(["1"])),
    "a fraction for a number": ("booking_version", lambda: pd.Series([1.0])),
    "a truth for a number": ("booking_version", lambda: pd.Series([True])),
    "a number without sign": ("booking_version", lambda: arrow([1], pa.uint8())),
    "an instant for a day": ("service_date", lambda: arrow([NOON], pa.timestamp("us", "UTC"))),
    "a text for a day": ("service_date", lambda: pd.Series(["2026-06-01"])),
    "a day for an instant": ("booking_changed_at", lambda: arrow([date(2026, 6, 1)], pa.date32())),
    "an instant of no zone": ("booking_changed_at", lambda: arrow([NOON.replace(tzinfo=None)], pa.timestamp("us"))),
    "an instant of Stockholm": ("booking_changed_at", lambda: arrow([NOON], pa.timestamp("us", "Europe/Stockholm"))),
    "an instant in seconds": ("booking_changed_at", lambda: arrow([NOON], pa.timestamp("s", "UTC"))),
}


@pytest.mark.parametrize("what", OF_ANOTHER_TYPE)
def test_a_column_of_another_type_is_an_error_that_tells_no_value(what: str) -> None:
    name, made = OF_ANOTHER_TYPE[what]
    values = made()
    rows = offered(*(row(number) for number in range(1, len(values) + 1))).assign(**{name: values})
    for check in (projected, incomplete):
        with pytest.raises(ContractError, match=f"column {name}: (is|holds)") as refused:
            check(HEALTH, rows)
        assert "Alva" not in str(refused.value)
        assert "2026" not in str(refused.value)


OF_A_GOOD_TYPE: dict[str, tuple[str, Callable[[], pd.Series[Any]]]] = {
    "texts of pandas": ("given_name", lambda: pd.Series(["Alva"], dtype="string")),
    "texts as objects": ("given_name", lambda: pd.Series(["Alva"], dtype=object)),
    "large texts": ("given_name", lambda: arrow(["Alva"], pa.large_string())),
    "numbers of numpy": ("booking_version", lambda: pd.Series([1])),
    "numbers that may be missing": ("replaces_version", lambda: pd.Series([None], dtype="Int64")),
    "days as objects": ("service_date", lambda: pd.Series([date(2026, 6, 1)], dtype=object)),
    "instants of pandas": ("booking_changed_at", lambda: pd.Series([NOON]).astype("datetime64[us, UTC]")),
}


@pytest.mark.parametrize("what", OF_A_GOOD_TYPE)
def test_a_column_may_be_of_any_form_that_says_the_same(what: str) -> None:
    name, values = OF_A_GOOD_TYPE[what]
    assert name in projected(HEALTH, offered(row()).assign(**{name: values()}))


@pytest.mark.parametrize(
    ("name", "value", "is_good"),
    [
        ("booking_reference", "a" * 64, True),
        ("booking_reference", "a" * 63, False),
        ("booking_reference", "a" * 65, False),
        ("booking_reference", "A" * 64, False),
        ("booking_reference", "20011", False),
        ("service_reference", "20011/1", False),
        ("person_reference", "a" * 64 + "\n", False),
        ("booking_status", "amended", True),
        ("booking_status", "cancelled", False),
    ],
)
def test_references_are_tokens_and_never_our_own_numbers(name: str, value: str, is_good: bool) -> None:
    rows = offered(row(1), row(2, **{name: value}))
    if is_good:
        assert len(projected(TRAVEL, rows)) == 2
        return
    with pytest.raises(ContractError, match=rf"column {name}: not of the form .* 1 of 2 rows") as refused:
        projected(TRAVEL, rows)
    assert value.strip() not in str(refused.value)


@pytest.mark.parametrize(
    "other", ["booking_reference", "service_reference", "person_reference", "booking_version", None]
)
def test_a_row_stands_there_once(other: str | None) -> None:
    changes: dict[str, Any] = {} if other is None else {other: 2 if other == "booking_version" else "f" * 64}
    rows = offered(row(), row(given_name="Bo", **changes))
    if other:
        assert len(projected(TRAVEL, rows)) == 2
        return
    with pytest.raises(ContractError, match="1 of 2 rows stand there twice"):
        projected(TRAVEL, rows)


@pytest.mark.parametrize("asked", ["email", "itinerary", "card_number"])
def test_only_what_the_contract_has_on_request_can_be_asked_for(asked: str) -> None:
    with pytest.raises(ContractError, match=f"{asked} cannot be asked for, it has birth_date, clinical_note"):
        projected(HEALTH, offered(row()), [asked])


# -- documents ---------------------------------------------------------------------------------------------------------


def document(kind: str = "travel_provider") -> dict[str, Any]:
    """A contract as its file has it."""
    loaded: dict[str, Any] = yaml.safe_load((contract_files.CONTRACT_FOLDER / f"{kind}.yaml").read_text("utf-8"))
    return loaded


def column(of: dict[str, Any], name: str) -> dict[str, Any]:
    return next(dict_ for dict_ in of["schema"][0]["properties"] if dict_["name"] == name)


def custom(of: dict[str, Any], name: str, value: Any) -> None:
    """Set a custom property."""
    of["customProperties"] = [each for each in of["customProperties"] if each["property"] != name]
    of["customProperties"].append({"property": name, "value": value})


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another standard": (lambda d: d.update(apiVersion="v2.0.0"), "apiVersion v3.1.0"),
    "no contract": (lambda d: d.update(kind="Dataset"), "DataContract"),
    "no schema": (lambda d: d.pop("schema"), "no form that can be read"),
    "two tables": (lambda d: d["schema"].append(d["schema"][0]), "no form that can be read"),
    "no column": (lambda d: d["schema"][0].update(properties=[]), "columns"),
    "a version of two numbers": (lambda d: d.update(version="1.0"), "version"),
    "no version": (lambda d: d.pop("version"), "version"),
    "an unknown kind of recipient": (lambda d: custom(d, "recipient_kind", "bank"), "kind"),
    "no lawful basis": (lambda d: custom(d, "lawful_basis", []), "lawful_basis"),
    "a custom property nobody knows": (lambda d: custom(d, "retention", 3), "retention"),
    "a custom property twice": (
        lambda d: d["customProperties"].append(d["customProperties"][0]), "recipient_kind twice"
    ),
    "a column of another type": (lambda d: column(d, "itinerary").update(logicalType="object"), "logical_type"),
    "a column without category": (lambda d: column(d, "itinerary")["customProperties"].pop(0), "category"),
    "a column without description": (lambda d: column(d, "itinerary").pop("description"), "description"),
    "a column that does not say whether it is required": (lambda d: column(d, "itinerary").pop("required"), "required"),
    "a column with a rule that nothing enforces": (lambda d: column(d, "itinerary").update(quality=[]), "quality"),
    "a limit that nothing enforces": (
        lambda d: column(d, "itinerary").update(logicalTypeOptions={"maxLength": 9}), "maxLength"
    ),
    "a name that is none": (lambda d: column(d, "itinerary").update(name="The Itinerary"), "name"),
    "a column that stands there twice": (
        lambda d: d["schema"][0]["properties"].append(column(d, "itinerary")), "itinerary stands there twice"
    ),
}  # fmt: skip


def test_the_document_that_the_malformed_ones_are_made_of_is_sound() -> None:
    assert contract_of(document(), TRAVEL.digest) == TRAVEL


@pytest.mark.parametrize("what", BAD)
def test_a_malformed_contract_is_refused(what: str) -> None:
    spoil, told = BAD[what]
    spoilt = document()
    spoil(spoilt)
    with pytest.raises(ContractError, match=told):
        contract_of(spoilt, "0" * 64)


NOT_ALLOWED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a category under a name that is on offer as another": (
        lambda d: d["schema"][0]["properties"].append(
            {**column(d, "itinerary"), "name": "email"}), "email is not what policies/sharing.yaml says it is",
    ),
    "a column that is on offer to nobody": (
        lambda d: column(d, "itinerary").update(name="notes"), "notes is on offer to nobody",
    ),
    "a category that policy does not know": (
        lambda d: column(d, "itinerary")["customProperties"][0].update(value="user.biometric"),
        "policy does not say whether a travel_provider may have that",
    ),
    "another type than is on offer": (
        lambda d: column(d, "itinerary").update(logicalType="integer"), "itinerary is not what",
    ),
    "on request for all": (
        lambda d: column(d, "itinerary")["customProperties"].append({"property": "on_request", "value": True}),
        "itinerary is not what",
    ),
    "a column for another purpose": (
        lambda d: column(d, "itinerary")["customProperties"][1].update(value="market_research"),
        "itinerary is for market_research, and the contract for contract",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_ALLOWED)
def test_a_contract_gets_nothing_by_calling_it_something_else(what: str) -> None:
    spoil, told = NOT_ALLOWED[what]
    spoilt = document()
    spoil(spoilt)
    with pytest.raises(ContractError, match=told):
        require_allowed(contract_of(spoilt, "0" * 64), SHARING)


def test_a_kind_of_which_policy_says_nothing_may_have_nothing() -> None:
    assert list(forbidden(TRAVEL, Sharing())) == ["policy does not say what a travel_provider may have"]


def test_policy_cannot_allow_and_forbid_one_thing() -> None:
    stated = SHARING.model_dump(by_alias=True)
    stated["kinds"]["travel_provider"]["forbidden"]["user.name"] = "no"
    with pytest.raises(ValueError, match=r"user\.name: allowed and forbidden to travel providers"):
        Sharing.model_validate(stated)


def test_a_category_that_policy_has_not_decided_about_is_a_gap() -> None:
    assert list(SHARING.undecided({"user.name", "user.biometric"})) == [
        "user.biometric is neither allowed nor forbidden to a health_provider",
        "user.biometric is neither allowed nor forbidden to a travel_provider",
    ]


# -- versions ----------------------------------------------------------------------------------------------------------


def other(version: str, *, without: str = "", added: str = "", **changes: Any) -> Contract:
    """The travel contract as another version; `changes` are of its column itinerary."""
    columns = [c.model_copy(update=changes if c.name == "itinerary" else {}) for c in TRAVEL.columns]
    columns = [c for c in columns if c.name != without]
    columns += [TRAVEL.columns[-1].model_copy(update={"name": added})] if added else []
    return TRAVEL.model_copy(update={"version": version, "columns": tuple(columns)})


BREAKS: dict[str, tuple[dict[str, Any], str]] = {
    "removed": ({"without": "itinerary"}, "itinerary is removed, or renamed"),
    "retyped": ({"logical_type": "date"}, "itinerary is date, was string"),
    "of another category": ({"category": "user.name"}, "itinerary is of category user.name, was user.content.private"),
    "newly required": ({"is_required": True}, "itinerary is newly required"),
    "encoded otherwise": ({"encoded_as": "base64"}, "itinerary is encoded in another way"),
    "of another form": ({"pattern": "^x$"}, "itinerary is of another form"),
    "on request": ({"on_request": True}, "itinerary travels to others than before"),
    "a key": ({"is_key": True}, "rows are told apart by other columns"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_breaks_needs_a_new_first_number(what: str) -> None:
    changes, told = BREAKS[what]
    assert list(broken(TRAVEL, other("1.1.0", **changes))) == [told]
    assert unsound_successor(TRAVEL, other("1.1.0", **changes)) == [f"{told}: that needs version 2.0.0"]
    assert unsound_successor(TRAVEL, other("2.0.0", **changes)) == []


def test_a_required_column_that_may_be_missing_breaks_too() -> None:
    assert list(broken(other("1.0.0", is_required=True), other("1.1.0"))) == [
        "itinerary may be missing, and was required"
    ]


@pytest.mark.parametrize("changes", [{"purpose": "other"}, {"lawful_basis": ("consent",)}])
def test_another_purpose_or_basis_breaks(changes: dict[str, Any]) -> None:
    changed = TRAVEL.model_copy(update={"version": "1.1.0", **changes})
    assert list(broken(TRAVEL, changed)) == ["it rests on another purpose or lawful basis"]


def test_what_is_added_needs_a_new_second_number_and_words_a_new_third_one() -> None:
    assert unsound_successor(TRAVEL, other("1.0.1", added="seat")) == ["seat is added: that needs version 1.1.0"]
    assert unsound_successor(TRAVEL, other("1.1.0", added="seat")) == []
    assert unsound_successor(TRAVEL, other("1.0.1", description="Other words.")) == []
    assert unsound_successor(TRAVEL, other("1.0.0")) == ["1.0.0 does not come after 1.0.0"]
    assert unsound_successor(other("1.10.0"), other("1.9.0")) == ["1.9.0 does not come after 1.10.0"]


IN_FORCE = {
    "health_provider-1.0.0": "9d0d911d5f1aac4f481b74e3352c7d38ca2e125196d4588bdba7c886b54f2446",
    "travel_provider-1.0.0": "927bb3c6111a367d7a3513cdede0988235ed98db9aa7a14a1d41bc20d35ea99c",
}
"""SHA-256 of every version that was ever in force: a recipient agreed to that text, and to no other (E29)."""


def test_no_version_that_was_in_force_was_changed_or_removed() -> None:
    kept = {path.stem: path for path in (contract_files.CONTRACT_FOLDER / "versions").iterdir()}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()} == IN_FORCE


@pytest.mark.parametrize("kind", KINDS)
def test_the_newest_version_is_kept_too_and_follows_soundly_from_those_before(kind: Any) -> None:
    versions = contract_files.versions(kind)
    newest = contract_files.newest(kind)
    assert newest == contract(kind, versions[-1])
    for before, after in zip(versions, versions[1:], strict=False):
        assert unsound_successor(contract(kind, before), contract(kind, after)) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of contracts whose travel contract has come by way of 1.10.0 to 2.0.0, without the itinerary."""
    (tmp_path / "versions").mkdir()
    for version in ("1.0.0", "1.9.0", "1.10.0", "2.0.0"):
        changed = document() | {"version": version}
        if version == "2.0.0":
            changed["schema"][0]["properties"].pop()
        text = yaml.safe_dump(changed, sort_keys=False)
        (tmp_path / "versions" / f"travel_provider-{version}.yaml").write_text(text, "utf-8")
        (tmp_path / "travel_provider.yaml").write_text(text, "utf-8")
    (tmp_path / "versions" / "travel_provider-draft.yaml").write_text("", "utf-8")
    return tmp_path


def test_a_new_version_changes_nothing_for_who_is_pinned_to_an_older_one(folder: Path) -> None:
    assert contract_files.versions("travel_provider", folder) == ("1.0.0", "1.9.0", "1.10.0", "2.0.0")
    assert contract_files.newest("travel_provider", folder).version == "2.0.0"
    old, new = (contract_files.load("travel_provider", v, SHARING, folder) for v in ("1.0.0", "2.0.0"))
    assert old.columns == TRAVEL.columns
    assert "itinerary" in projected(old, offered(row()))
    assert "itinerary" not in projected(new, offered(row()))
    assert contract_files.terms(policies.load(), folder).contracts["travel_provider"][-1] == "2.0.0"  # type: ignore[index]


@pytest.mark.parametrize("version", ["3.0.0", "draft", "../1.0.0"])
def test_a_version_that_is_not_kept_is_refused(folder: Path, version: str) -> None:
    with pytest.raises(ContractError, match=r"there are 1\.0\.0, 1\.9\.0, 1\.10\.0, 2\.0\.0"):
        contract_files.load("travel_provider", version, SHARING, folder)
    with pytest.raises(ContractError, match="there are none"):
        contract_files.load("health_provider", "1.0.0", SHARING, folder)


def test_a_file_that_holds_another_version_than_its_name_says_is_refused(folder: Path) -> None:
    kept = folder / "versions"
    (kept / "travel_provider-2.0.0.yaml").replace(kept / "travel_provider-1.0.0.yaml")
    with pytest.raises(ContractError, match=r"travel_provider-1\.0\.0\.yaml holds contract travel_provider 2\.0\.0"):
        contract_files.load("travel_provider", "1.0.0", SHARING, folder)


def test_a_version_that_a_stricter_policy_forbids_is_refused_when_it_is_loaded(folder: Path) -> None:
    stated = SHARING.model_dump(by_alias=True)
    kind = stated["kinds"]["travel_provider"]
    kind["forbidden"]["user.content.private"] = kind["allowed"].pop("user.content.private")
    stricter = Sharing.model_validate(stated)
    assert contract_files.load("travel_provider", "2.0.0", stricter, folder).version == "2.0.0"
    with pytest.raises(ContractError, match="itinerary is user.content.private, forbidden"):
        contract_files.load("travel_provider", "1.0.0", stricter, folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: 1\na: 2\n", "stands there twice"),
        (b"- 1\n", "a mapping"),
        (b"\xff", "not sound YAML"),
        (b"a: 1", "apiVersion"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "travel_provider.yaml").write_bytes(content)
    with pytest.raises(ContractError, match=rf"(?s)travel_provider\.yaml.*{told}"):
        contract_files.newest("travel_provider", tmp_path)
    with pytest.raises(ContractError, match=r"health_provider\.yaml cannot be read: No such file"):
        contract_files.newest("health_provider", tmp_path)


def test_versions_are_compared_as_numbers() -> None:
    assert sorted(["1.10.0", "1.9.0", "2.0.0"], key=numbers) == ["1.9.0", "1.10.0", "2.0.0"]
