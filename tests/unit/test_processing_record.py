"""The record of processing activities says all that article 30(1) asks for, of every purpose, and as policy has it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from governance import policy as policies
from governance import processing_record, processing_record_pages
from governance.__main__ import main
from governance.commands.record import in_force, record_of
from governance.embedded import site as sites
from governance.policy import UNCONFIRMED, Policy
from governance.processing_record import TITLES, Activity
from governance.sharing import contract_files
from governance.sharing.register import Recipient
from governance.third_parties import ThirdParty

pytestmark = [pytest.mark.clause("R1"), pytest.mark.clause("M1"), pytest.mark.clause("A1")]

POLICY = policies.load()
RECORD = record_of(POLICY)
BY_NAME = {one.name: one for one in RECORD}
WRITE = "it is not: run `governance record --without-site --out plugins/governance/docs/{0}`{1}"


def kept(name: str) -> str:
    return resources.files("governance").joinpath("docs", name).read_bytes().decode()


def test_the_record_in_docs_is_current() -> None:
    name = "processing-record.md"
    assert kept(name) == processing_record_pages.markdown(RECORD), WRITE.format(name, "")


def test_the_record_in_docs_as_csv_is_current() -> None:
    name = "processing-record.csv"
    assert kept(name) == processing_record_pages.as_csv(RECORD), WRITE.format(name, " with --csv")


# -- each of (a) to (g), of every purpose ------------------------------------------------------------------------------


def test_there_is_an_activity_for_every_purpose_in_the_order_of_policy() -> None:
    assert [one.name for one in RECORD] == list(POLICY.purposes)


def test_the_parts_of_an_activity_are_the_letters_of_article_30() -> None:
    assert {title[1] for title in TITLES.values() if title.startswith("(")} == set("abcdefg")
    assert ["name", *TITLES] == [part.name for part in fields(Activity)]


@pytest.mark.parametrize("part", TITLES)
@pytest.mark.parametrize("name", POLICY.purposes)
def test_each_part_of_each_activity_is_answered(name: str, part: str) -> None:
    told = getattr(BY_NAME[name], part)
    assert told
    assert all(text.strip() and "undeclared" not in text and "None" not in text for text in told)


@pytest.mark.parametrize("name", ["controller", "lawful_bases"])
def test_what_nobody_has_confirmed_says_so(name: str) -> None:
    part = {"controller": "controller", "lawful_bases": "lawful_basis"}[name]
    confirmed = opened(name, decided_by="the controller")
    assert all(UNCONFIRMED in getattr(one, part) for one in RECORD)
    assert not [one for one in record_of(confirmed) if UNCONFIRMED in getattr(one, part)]


def opened(name: str, **changes: Any) -> Policy:
    value = POLICY.open_values[name].model_copy(update=changes)
    return POLICY.model_copy(update={"open_values": {**POLICY.open_values, name: value}})


@pytest.mark.parametrize(("value", "told"), [(None, "undecided"), ("Wellbe AB, Malmö", "Wellbe AB, Malmö")])
def test_a_controller_is_told_as_policy_names_it_or_as_undecided(value: str | None, told: str) -> None:
    assert record_of(opened("controller", value=value))[0].controller == (told, UNCONFIRMED)


def test_without_the_open_values_the_record_says_that_they_are_undecided() -> None:
    values = {name: one for name, one in POLICY.open_values.items() if name not in ("controller", "lawful_bases")}
    one = record_of(POLICY.model_copy(update={"open_values": values}))[0]
    assert (one.controller, one.lawful_basis) == (("undecided", UNCONFIRMED),) * 2


def test_the_record_names_a_controller_a_representative_and_a_data_protection_officer() -> None:
    told = [text.partition(":")[0] for text in RECORD[0].controller]
    assert told == ["controller", "representative", "joint controllers", "data protection officer", UNCONFIRMED]


def test_a_term_that_nobody_has_decided_is_told_and_stops_no_record() -> None:
    (cards,) = [one for one in record_of(opened("card_days", value=None)) if one.name == "saved_cards"]
    assert any("undecided days after captured_at" in text for text in cards.erasure)


# -- (c) whose data, and which -----------------------------------------------------------------------------------------


def test_no_category_that_a_purpose_reads_is_missing_and_none_is_too_many() -> None:
    for name in POLICY.purposes:
        read = {
            column.category
            for dataset in POLICY.datasets.values()
            for table in dataset.landed.values()
            for key, column in table.columns.items()
            if name in ("intake", "retention", *column.purposes)
            or (name == "review" and key in ("row_key", "root_key"))
        }
        contracts = in_force(POLICY) if name == "contract" else []
        read |= {column.category for contract in contracts for column in contract.columns}
        assert set(BY_NAME[name].categories) == (read or {"none: what is read was anonymised"})


def test_every_table_that_something_lands_from_says_whom_it_is_about() -> None:
    used = {
        origin.partition(".")[0]
        for dataset in POLICY.datasets.values()
        for table in dataset.landed.values()
        for column in table.columns.values()
        for origin in column.origin
    }
    assert used == set(processing_record.SUBJECTS)


NOBODY = "nobody who can be identified in what is made of it"


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("intake", ("client", "traveller", "guardian", "visitor")),
        ("contract", ("client", "traveller", "guardian")),
        ("validation", ("client", "traveller", "guardian", "visitor")),
        ("improve_services", ("client", "traveller", "visitor", NOBODY)),
        ("market_research", (NOBODY,)),
        ("saved_cards", ("client",)),
        ("fraud_prevention", ("client",)),
        ("retention", ("client", "traveller", "guardian", "visitor")),
        ("review", ("client", "traveller", "visitor")),
    ],
)
def test_whose_data_it_is_is_told_by_purpose(name: str, subjects: tuple[str, ...]) -> None:
    assert BY_NAME[name].subjects == subjects


def test_a_table_of_which_nobody_has_said_whom_it_is_about_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {table: who for table, who in processing_record.SUBJECTS.items() if table != "page_views"}
    monkeypatch.setattr(processing_record, "SUBJECTS", known)
    assert record_of(POLICY)[0].subjects == ("client", "traveller", "guardian", "undeclared: page_views")


def test_every_activity_has_a_lawful_basis_and_health_data_a_word_about_article_9() -> None:
    for one in RECORD:
        assert one.lawful_basis[0] != "undecided"
        assert (
            one.name == "contract" or "user.health_and_medical" not in one.categories or "Art. 9" in one.lawful_basis[0]
        )
    (without,) = [one for one in record_of(opened("lawful_bases", value={})) if one.name == "review"]
    assert without.lawful_basis == ("undecided", UNCONFIRMED)


def test_a_contract_says_what_it_rests_on() -> None:
    told = BY_NAME["contract"].lawful_basis
    for contract in in_force(POLICY):
        assert f"contract {contract.kind} {contract.version}: {'; '.join(contract.lawful_basis)}" in told
    assert not [text for one in RECORD if one.name != "contract" for text in one.lawful_basis if "contract he" in text]


# -- (d) recipients, (e) transfers -------------------------------------------------------------------------------------


def test_every_role_that_can_reach_personal_zones_is_a_recipient_of_some_activity() -> None:
    personal = {"wellbe", "records", "landing", "quarantine", "vault"}
    reaching = {name for name, role in POLICY.roles.items() if personal & set(role.can_use)}
    told = {text.split()[1].rstrip(":") for one in RECORD for text in one.recipients if text.startswith("role ")}
    assert reaching <= told
    assert {spec.role for spec in POLICY.purposes.values()} <= told


def test_no_kind_of_provider_and_no_column_that_a_contract_lets_go_is_missing() -> None:
    assert {contract.kind for contract in in_force(POLICY)} == set(POLICY.sharing.kinds)
    for contract in in_force(POLICY):
        (told,) = [text for text in BY_NAME["contract"].recipients if text.startswith(f"{contract.kind}: ")]
        always, _, asked = told.partition("; on request ")
        assert always.split(f"{contract.version} ")[1].split(", ") == [c.name for c in contract.travelling()]
        assert asked == (", ".join(c.name for c in contract.columns if c.on_request) or "nothing")


def test_a_kind_without_a_contract_gets_nothing() -> None:
    told = processing_record.activities(POLICY, [])
    (contract,) = [one for one in told if one.name == "contract"]
    assert "health_provider: nothing, there is no contract" in contract.recipients


def test_what_leaves_nobody_says_so() -> None:
    assert [one.name for one in RECORD if "nobody outside" not in one.recipients] == ["contract"]


def recipient(**changes: Any) -> Recipient:
    entry = {
        "name": "North | Clinic", "kind": "health_provider", "provider_id": 101, "contract": "1.0.0",
        "agreed_from": date(2026, 1, 1), "agreed_until": date(2026, 12, 31), "country_code": "SE",
        "endpoint": "file:///srv/north", "acknowledgement_hours": 48,
    }  # fmt: skip
    return Recipient(**{**entry, **changes})


def of_a_site(**changes: Any) -> Policy:
    site = POLICY.site.model_copy(update={"recipients": {"north": recipient(**changes)}})
    return POLICY.model_copy(update={"site": site})


def with_recipient(**changes: Any) -> Activity:
    return next(one for one in record_of(of_a_site(**changes)) if one.name == "contract")


@pytest.mark.parametrize(
    ("changes", "transfers"),
    [
        ({}, ("none",)),
        ({"country_code": "NO"}, ("none",)),
        ({"country_code": "CH"}, ("north, CH: adequacy decision, Art. 45(3)",)),
        ({"country_code": "US"}, ("north, US: none, no basis: nothing is handed over",)),
        (
            {"country_code": "US", "transfer_basis": "standard_contractual_clauses"},
            ("north, US: standard_contractual_clauses, Art. 46(2)(c), with an assessment of the transfer.",),
        ),
    ],
)
def test_a_sites_recipient_shows_with_its_country_and_what_the_transfer_rests_on(
    changes: dict[str, str], transfers: tuple[str, ...]
) -> None:
    one = with_recipient(**changes)
    assert one.transfers == transfers
    country = changes.get("country_code", "SE")
    agreed = "agreed 2026-01-01 to 2026-12-31, contract 1.0.0"
    assert f"health_provider north: North | Clinic, {country}, {agreed}" in one.recipients
    assert "north" not in processing_record_pages.markdown(each for each in record_of(POLICY))


@pytest.mark.parametrize("basis", POLICY.sharing.transfers.bases)
def test_each_basis_of_a_transfer_shows_with_its_article(basis: str) -> None:
    (told,) = with_recipient(country_code="US", transfer_basis=basis).transfers
    assert told == f"north, US: {basis}, {POLICY.sharing.transfers.bases[basis]}"


def test_what_a_recipient_asks_for_shows() -> None:
    (told,) = [text for text in with_recipient(options=("birth_date",)).recipients if " north: " in text]
    assert told.endswith("contract 1.0.0; asks for birth_date")


def test_a_recipient_whose_contract_is_not_kept_gets_nothing_and_stops_no_record() -> None:
    (told,) = [text for text in with_recipient(contract="9.9.9").recipients if " north: " in text]
    assert told.endswith("contract 9.9.9, which is not kept: nothing is handed over")


def test_a_version_that_a_recipient_has_agreed_to_is_in_force_beside_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contract_files.newest
    monkeypatch.setattr(contract_files, "newest", lambda kind: before(kind).model_copy(update={"version": "1.1.0"}))
    versions = [(one.kind, one.version) for one in in_force(of_a_site())]
    assert versions == [("health_provider", "1.1.0"), ("health_provider", "1.0.0"), ("travel_provider", "1.1.0")]


@pytest.mark.parametrize("purpose", ["market_research", "improve_services"])
def test_a_third_party_shows_under_its_own_purpose_and_no_other(purpose: str) -> None:
    party = ThirdParty(
        name="Institute", purpose=purpose, agreed_from=date(2026, 1, 1), agreed_until=date(2026, 12, 31),
        tables=("bookings",), endpoint="/srv/institute",
    )  # fmt: skip
    record = record_of(POLICY.model_copy(update={"third_parties": {"institute": party}}))
    told = "third party institute: Institute, agreed 2026-01-01 to 2026-12-31; anonymised releases of bookings alone"
    assert [one.name for one in record if told in one.recipients] == [purpose]
    assert [one.name for one in record if "nobody outside" not in one.recipients] == sorted(["contract", purpose])
    transfers = {one.name: one.transfers for one in record}
    assert transfers[purpose] == ("none to third parties: what they get was anonymised",)


# -- (f) time limits, (g) measures -------------------------------------------------------------------------------------


def test_every_table_that_holds_something_of_somebody_has_its_time_limit_in_some_activity() -> None:
    told = {text.split(":")[0].split(" ")[0].rstrip(",") for one in RECORD for text in one.erasure}
    personal = {
        rule.table
        for rule in POLICY.retention.rules.values()
        if rule.act != "keep" or rule.schema_name in ("records", "vault", "quarantine")
    }
    assert {table for table in personal if not table.startswith("wellbe.")} <= told
    pulled = {f"wellbe.{table}" for dataset in POLICY.datasets.values() for table in dataset.source}
    assert pulled <= told


def test_every_table_that_is_named_has_a_rule() -> None:
    named = {table for tables in processing_record.KEPT_FOR.values() for table in tables}
    assert named <= {rule.table for rule in POLICY.retention.rules.values()}
    assert set(processing_record.KEPT_FOR) <= set(POLICY.purposes)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("saved_cards", "records.payment_cards: deleted 10 days after captured_at less 2 hours"),
        ("contract", "sharing.delivered_rows: deleted 730 days after delivered_at"),
        ("improve_services", "vault.release_ledger (dataset visits): deleted 60 days after release_partition"),
        ("retention", "wellbe.payment_cards, cvv: blanked with the next run"),
        ("review", "quarantine.rows: deleted 90 days after quarantined_at; unless in_review"),
        ("fraud_prevention", "key fraud_token: 365 days after it was made; At its deadline."),
        ("contract", "records.booking_travellers: deleted earlier, when the traveller is erased"),
        ("review", "quarantine.rows: deleted earlier, when somebody of the booking is erased"),
    ],
)
def test_time_limits_are_those_of_the_rules_of_retention_and_of_keys(name: str, told: str) -> None:
    assert told in BY_NAME[name].erasure


def test_a_rule_that_keeps_says_why() -> None:
    rule = POLICY.retention.rules["saved_cards"]
    assert f"vault.saved_cards: without a term; {rule.rationale}" in BY_NAME["saved_cards"].erasure


def test_what_an_erasure_leaves_is_told_with_its_ground() -> None:
    (told,) = [text for text in BY_NAME["fraud_prevention"].erasure if " stay; " in text]
    assert told.startswith("vault.card_holds: when the client is erased card_key, card_token stay; A hold for ")


def test_each_kind_of_key_shows_in_each_purpose_that_may_use_it_with_its_end() -> None:
    for kind, key in POLICY.keys.items():
        for name in key.purposes:
            (how,) = [text for text in BY_NAME[name].measures if text.startswith(f"key {kind}, one per {key.scope}: ")]
            assert ("AES-256-GCM" in how, "tokens" in how) == (key.use == "encrypt", key.use == "token")
            assert ("may seal" in how, "may open" in how) == (name in key.seal, name in key.open)
            assert any(text.startswith(f"key {kind}: ") and key.destroyed in text for text in BY_NAME[name].erasure)


def test_a_purpose_that_handles_what_a_key_protects_and_may_not_use_it_says_so() -> None:
    assert (
        "key card_hour, one per hour: AES-256-GCM at rest; this purpose may not use it" in BY_NAME["retention"].measures
    )


def test_measures_name_the_role_its_zones_and_who_takes_it() -> None:
    steward = "access: database role steward reaches quarantine and no other zone"
    taken = "; nobody logs in as it, pipeline takes it, on the record"
    assert BY_NAME["review"].measures[0] == steward + taken
    roles = {**POLICY.roles, "steward": POLICY.roles["steward"].model_copy(update={"taken_by": None})}
    (free,) = [one for one in record_of(POLICY.model_copy(update={"roles": roles})) if one.name == "review"]
    assert free.measures[0] == steward


def test_what_is_anonymised_says_how_and_what_is_delivered_says_how() -> None:
    named = {start: [one.name for one in RECORD if any(text.startswith(start) for text in one.measures)]
             for start in ("anonymisation: groups of 10 people and 2 health", "delivery: ", "evidence: ")}  # fmt: skip
    assert list(named.values()) == [["improve_services", "market_research"], ["contract"], list(POLICY.purposes)]


# -- what it looks like ------------------------------------------------------------------------------------------------


def statements(page: str) -> list[tuple[int, str]]:
    """(depth of the list, text) of what a reader of Markdown sees; whatever is no plain text shows as its markup."""
    found, depth = [], 0
    for token in MarkdownIt("commonmark").enable("strikethrough").parse(page):
        depth += token.nesting if token.type.startswith("bullet_list") else 0
        if token.type == "inline":
            found.append((depth, "".join(one.content if one.type.startswith("text") else f"<{one.type}>"
                                         for one in token.children or ())))  # fmt: skip
    return found


PRINTED = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Cn")), min_size=1)


@settings(deadline=None)
@given(PRINTED)
@example("*a* _b_ `c` [d](e) <f> | g & &amp; ~~h~~ \\ !")
@example("- a")
@example("+ a")
@example("12. a")
@example("3) a")
@example("# a")
@example("> a")
@example("---")
def test_markdown_shows_every_text_as_it_is(text: str) -> None:
    one = with_name(text)
    line = " ".join(text.split())
    if line:
        assert (2, line) in statements(processing_record_pages.markdown([one]))


PATTERN: Activity = BY_NAME["review"]


def with_name(text: str) -> Activity:
    return Activity(**{**{part.name: getattr(PATTERN, part.name) for part in fields(Activity)}, "recipients": (text,)})


@settings(deadline=None)
@given(PRINTED)
@example('a "quoted", with; commas\nand lines')
def test_csv_gives_every_text_back(text: str) -> None:
    rows = list(csv.reader(io.StringIO(processing_record_pages.as_csv([with_name(text)]))))
    (told,) = [row[2] for row in rows if row[1] == TITLES["recipients"]]
    line = " ".join(text.split())
    assert told == (f"'{line}" if line[:1] in {"=", "+", "-", "@"} and line else line)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum(a1)", " =1"])
def test_no_cell_is_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(processing_record_pages.as_csv([with_name(text)]))))
    assert [row for row in rows if row[2].startswith("'")] == [["review", TITLES["recipients"], f"'{text.strip()}"]]


def test_csv_has_a_row_for_each_statement_and_nothing_else() -> None:
    rows = list(csv.reader(io.StringIO(processing_record_pages.as_csv(RECORD))))
    said = [[one.name, title, text] for one in RECORD for part, title in TITLES.items() for text in getattr(one, part)]
    assert rows == [["activity", "part", "statement"], *said]


def test_the_page_has_a_section_for_each_activity_and_a_list_for_each_letter() -> None:
    page = processing_record_pages.markdown(RECORD)
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")] == [
        name.replace("_", "\\_") for name in POLICY.purposes
    ]
    assert page.count("\n- **") == len(POLICY.purposes) * len(TITLES)


# -- the command -------------------------------------------------------------------------------------------------------

Ways = Callable[[tuple[Activity, ...]], str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sites.Site:
    """A site with a clinic in a third country."""
    made = sites.load_or_create(tmp_path / "site")
    sites.write_policy(made, dict.fromkeys(("bookings", "visits"), date(2026, 3, 1)))
    with made.policy_path.open("a", encoding="utf-8") as file:
        file.write(
            "recipients:\n  far: {name: Far Clinic, kind: health_provider, provider_id: 7, contract: 1.0.0, "
            "country_code: TR, transfer_basis: explicit_consent, agreed_from: 2026-01-01, agreed_until: 2026-12-31, "
            "endpoint: file:///srv/far, acknowledgement_hours: 48}\n"
        )
    monkeypatch.setattr(sites, "default_data_dir", lambda: made.data_dir)
    return made


@pytest.mark.usefixtures("site")
def test_the_command_tells_of_the_sites_recipients(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record"]) == 0
    told = capsys.readouterr().out
    assert "far: Far Clinic, TR, agreed 2026-01-01 to 2026-12-31" in told
    assert "far, TR: explicit\\_consent, Art. 49(1)(a)" in told


@pytest.mark.parametrize(
    ("given_options", "written"), [((), processing_record_pages.markdown), (("--csv",), processing_record_pages.as_csv)]
)
@pytest.mark.usefixtures("site")
def test_the_command_writes_what_stands_in_docs_without_the_site(
    tmp_path: Path, given_options: tuple[str, ...], written: Ways
) -> None:
    out = tmp_path / "record"
    out.write_text("an older one")
    assert main(["record", "--without-site", *given_options, "--out", str(out)]) == 0
    assert out.read_text("utf-8") == written(RECORD)


def test_before_there_is_a_site_the_record_is_that_of_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sites, "default_data_dir", lambda: tmp_path / "none")
    assert main(["record", "--csv"]) == 0
    assert capsys.readouterr().out == processing_record_pages.as_csv(RECORD)


@pytest.mark.usefixtures("site")
def test_a_file_that_cannot_be_written_is_told_as_one(tmp_path: Path) -> None:
    assert main(["record", "--out", str(tmp_path)]) == 74
