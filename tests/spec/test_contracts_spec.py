"""What either kind of provider gets, column by column, and what neither ever gets: a table to check by eye."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from contract_rows import SHARING, contract, offered, row
from governance import policy as policies
from governance.errors import ContractError
from governance.sharing import contract_files
from governance.sharing.allowances import KindName
from governance.sharing.contract_documents import contract_of, forbidden, require_allowed
from governance.sharing.contracts import projected

pytestmark = [pytest.mark.clause("F1"), pytest.mark.clause("N1")]

POLICY = policies.load()
KINDS: tuple[KindName, ...] = ("health_provider", "travel_provider")

# column, health provider, travel provider: "yes", "asked" (where the register asks for it), "-" (never)
ALLOW_LIST = """
booking_reference    yes    yes
service_reference    yes    yes
person_reference     yes    yes
booking_version      yes    yes
replaces_version     yes    yes
booking_status       yes    yes
booking_changed_at   yes    yes
given_name           yes    yes
family_name          yes    yes
birth_date           asked  -
email                yes    -
phone                yes    -
language             yes    -
procedure_code       yes    -
clinical_note        asked  -
service_date         yes    yes
nights_count         -      yes
itinerary            -      yes
"""
TABLE = {name: dict(zip(KINDS, cells, strict=True)) for name, *cells in map(str.split, ALLOW_LIST.strip().splitlines())}

# category, and what may be handed over of it
CATEGORIES = """
system.operations                health  travel
user.account                     -       -
user.behavior                    -       -
user.behavior.browsing_history   -       -
user.behavior.purchase_history   health  travel
user.contact                     -       -
user.contact.address.postal_code -       -
user.contact.email               health  -
user.contact.phone_number        health  -
user.content.private             -       travel
user.demographic.age_range       -       -
user.demographic.date_of_birth   health  -
user.demographic.language        health  -
user.device                      -       -
user.device.cookie_id            -       -
user.device.device_id            -       -
user.device.ip_address           -       -
user.financial                   -       -
user.financial.credit_card       -       -
user.government_id               -       -
user.health_and_medical          health  -
user.location.imprecise          -       -
user.location.precise            -       -
user.name                        health  travel
user.privacy_preferences         -       -
user.unique_id                   -       -
user.unique_id.pseudonymous      health  travel
"""
OF_CATEGORY = {name: cells for name, *cells in map(str.split, CATEGORIES.strip().splitlines())}


def categories() -> set[str]:
    """Every data category that the policy uses, of whatever it pulls, refuses, looks up, lands or offers."""
    source = {column.category for table in POLICY.source_tables.values() for column in table.values()}
    landed = {
        column.category
        for dataset in POLICY.datasets.values()
        for table in dataset.landed.values()
        for column in table.columns.values()
    }
    return source | landed | {column.category for column in SHARING.offered.values()}


# -- columns -----------------------------------------------------------------------------------------------------------


def test_the_table_names_every_column_that_is_on_offer() -> None:
    assert set(TABLE) == set(SHARING.offered)


@pytest.mark.parametrize("kind", KINDS)
def test_a_contract_is_the_allow_list(kind: KindName) -> None:
    stated = {column.name: "asked" if column.on_request else "yes" for column in contract(kind).columns}
    assert stated == {name: cells[kind] for name, cells in TABLE.items() if cells[kind] != "-"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [(), ("birth_date",), ("clinical_note",), ("birth_date", "clinical_note")])
def test_what_is_handed_over_is_the_contracts_columns_in_its_order(kind: KindName, asked: tuple[str, ...]) -> None:
    if kind == "travel_provider" and asked:
        with pytest.raises(ContractError, match="cannot be asked for"):
            projected(contract(kind), offered(row()), asked)
        return
    handed = projected(contract(kind), offered(row()), asked)
    expected = [c.name for c in contract(kind).columns if TABLE[c.name][kind] == "yes" or c.name in asked]
    assert list(handed) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_keys_and_days_are_required_and_what_a_client_may_leave_out_is_not(kind: KindName) -> None:
    optional = {column.name for column in contract(kind).columns if not column.is_required}
    assert optional == {
        "health_provider": {"replaces_version", "birth_date", "email", "phone", "language", "clinical_note"},
        "travel_provider": {"replaces_version", "nights_count", "itinerary"},
    }[kind]  # fmt: skip


def test_health_rests_on_explicit_consent_and_travel_on_the_contract_alone() -> None:
    assert [basis[:18].rstrip(",") for basis in contract("health_provider").lawful_basis] == [
        "GDPR Art. 6(1)(b)", "GDPR Art. 9(2)(a)",
    ]  # fmt: skip
    assert [basis[:17] for basis in contract("travel_provider").lawful_basis] == ["GDPR Art. 6(1)(b)"]


# -- categories --------------------------------------------------------------------------------------------------------


def test_every_category_that_policy_uses_is_allowed_or_forbidden_to_every_kind() -> None:
    assert list(SHARING.undecided(categories())) == []
    assert set(SHARING.kinds) == set(KINDS)


def test_the_table_of_categories_is_what_policy_says() -> None:
    assert set(OF_CATEGORY) == categories()
    for kind, provider in SHARING.kinds.items():
        column = KINDS.index(kind)
        assert set(provider.allowed) == {name for name, cells in OF_CATEGORY.items() if cells[column] != "-"}
        assert set(provider.forbidden) == {name for name, cells in OF_CATEGORY.items() if cells[column] == "-"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_category_is_allowed_that_no_contract_needs(kind: KindName) -> None:
    assert set(SHARING.kinds[kind].allowed) == {column.category for column in contract(kind).columns}


def test_what_is_on_offer_has_the_category_of_what_it_is_made_of() -> None:
    source = {f"{table}.{name}": c.category for table, cs in POLICY.source_tables.items() for name, c in cs.items()}
    keyed = {"booking_reference", "service_reference", "person_reference"}
    for name, column in SHARING.offered.items():
        assert set(column.origin) <= source.keys()
        if name in keyed:
            assert column.category == "user.unique_id.pseudonymous"
        elif name == "clinical_note":  # any text at the source, held to be health data from here on
            assert (column.category, column.origin) == ("user.health_and_medical", ("bookings.notes",))
        else:
            assert {column.category} == {source[origin] for origin in column.origin}


def documents() -> Iterator[tuple[KindName, str]]:
    for kind in KINDS:
        yield from ((kind, category) for category in SHARING.kinds[kind].forbidden)


@pytest.mark.clause("I2")
@pytest.mark.parametrize(("kind", "category"), list(documents()))
def test_a_contract_that_asks_for_a_forbidden_category_is_refused_with_the_reason(
    kind: KindName, category: str
) -> None:
    document = yaml.safe_load((contract_files.CONTRACT_FOLDER / f"{kind}.yaml").read_text("utf-8"))
    wanted = {"category": category, "purpose": "contract", "encoded_as": "text"}
    document["schema"][0]["properties"].append(
        {
            "name": "wanted",
            "logicalType": "string",
            "required": False,
            "description": "Something more.",
            "customProperties": [{"property": name, "value": value} for name, value in wanted.items()],
        }
    )
    with pytest.raises(ContractError) as refused:
        require_allowed(contract_of(document, "0" * 64), SHARING)
    assert SHARING.kinds[kind].forbidden[category] in str(refused.value)
    assert f"wanted is {category}, forbidden to a {kind}" in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_version_that_is_kept_asks_for_nothing_that_is_forbidden(kind: KindName) -> None:
    for version in contract_files.versions(kind):
        assert list(forbidden(contract(kind, version), SHARING)) == []
