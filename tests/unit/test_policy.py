"""The policy's files are strict: what is unknown, missing, doubled or contradicts itself is named and refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from governance import policy_files
from governance.datasets import Treatment
from governance.errors import PolicyError
from governance.policy import POLICY_FOLDER, UNCONFIRMED, Policy, load

pytestmark = pytest.mark.clause("A1")

POLICY = load()
PARSED: dict[bytes, dict[str, Any]] = {}
parse = policy_files.mapping


def parsed(name: str, text: bytes) -> dict[str, Any]:
    """What a policy file holds. The same text is parsed once: that is most of the time that loading takes."""
    if text not in PARSED:
        PARSED[text] = parse(name, text)
    return PARSED[text]


@pytest.fixture(autouse=True)
def parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_files, "mapping", parsed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the policy that a test may spoil."""
    return Path(shutil.copytree(POLICY_FOLDER, tmp_path / "policies"))


Content = dict[str, Any]


def rule(content: Content, name: str) -> Content:
    """A rule of retention."""
    found: Content = content["retention"]["rules"][name]
    return found


def changed(folder: Path, name: str, change: Callable[[Content], object]) -> Path:
    """The folder with one of its files changed."""
    path = folder / f"{name}.yaml"
    content = deepcopy(parsed(path.name, path.read_bytes()))
    change(content)
    path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True), "utf-8")
    PARSED[path.read_bytes()] = content
    return folder


def column(content: Content, table: str, name: str) -> Content:
    found: Content = content["landed"][table]["columns"][name]
    return found


def kind(content: Content, name: str) -> Content:
    found: Content = content["keys"][name]
    return found


def set_values(**values: Any) -> Callable[[Content], object]:
    """A change of `policy.yaml` that decides open values otherwise."""
    return lambda content: [content["open_values"][name].update(value=value) for name, value in values.items()]


def test_the_projects_own_policy_holds_together() -> None:
    assert set(POLICY.datasets) == {"bookings", "visits"}
    assert POLICY.dataset("bookings").root == "bookings"
    assert POLICY.dataset("bookings").children == ("booking_travellers", "booking_services", "payment_cards")
    assert POLICY.dataset("visits").children == ()
    assert POLICY.time_zone == "Europe/Stockholm"
    assert len(POLICY.source_tables) == 14


def test_what_is_never_published_or_stored_in_clear_is_declared_so() -> None:
    source = POLICY.source_tables
    assert source["payment_cards"]["cvv"].treatment is Treatment.REFUSE
    encrypted = {
        ("clients", "given_name"), ("clients", "family_name"), ("clients", "email"), ("clients", "phone"),
        ("clients", "skype"), ("clients", "birth_date"), ("bookings", "notes"), ("booking_services", "procedure_code"),
        ("booking_services", "itinerary"), ("guardian_consents", "guardian_name"), ("payment_cards", "card_number"),
        ("payment_cards", "card_holder"), ("payment_cards", "card_expiry"), ("page_views", "ip"),
        ("page_views", "device_settings"), ("booking_travellers", "birth_date"),
    }  # fmt: skip
    assert {source[table][name].treatment for table, name in encrypted} == {Treatment.ENCRYPT}
    assert {source["page_views"][name].treatment for name in ("session_id", "device_id")} == {Treatment.TOKENISE}


SPOILT: dict[str, tuple[str, Callable[[Content], object], str]] = {
    "an unknown key at the top": ("policy", lambda c: c.update(colour="red"), "at colour: Extra inputs"),
    "an unknown key of a column": (
        "visits", lambda c: c["source"]["page_views"]["ip"].update(colour="red"),
        "at datasets > visits > source > page_views > ip > colour: Extra inputs"),
    "an unknown treatment": (
        "visits", lambda c: c["source"]["page_views"]["ip"].update(treatment="hide"),
        "ip > treatment: Input should be"),
    "a column without a category": (
        "visits", lambda c: c["source"]["page_views"]["ip"].pop("category"), "ip > category: Field required"),
    "a missing part": ("policy", lambda c: c.pop("purposes"), "at purposes: Field required"),
    "a guarded column that lands in clear": (
        "bookings", lambda c: column(c, "bookings", "notes_encrypted").update(treatment="keep"),
        "bookings.notes_encrypted would land bookings.notes as it is, though its treatment is encrypt"),
    "a tokenised column that lands in clear": (
        "visits", lambda c: column(c, "page_views", "session_token").update(treatment="keep"),
        "page_views.session_token would land page_views.session_id as it is, though its treatment is tokenise"),
    "a column read for nothing": (
        "visits", lambda c: c["source"]["page_views"]["referrer"].update(treatment="keep"),
        r"columns read for nothing in dataset visits \(refuse them\): page_views.referrer"),
    "a refused column that lands": (
        "visits", lambda c: column(c, "page_views", "path_encrypted").update({"from": ["page_views.referrer"]}),
        "page_views.path_encrypted comes from page_views.referrer, which is refused"),
    "a column from nowhere": (
        "visits", lambda c: column(c, "page_views", "path_encrypted").update({"from": ["page_views.adress"]}),
        "page_views.path_encrypted comes from page_views.adress, which dataset visits does not declare"),
    "a column from a table from nowhere": (
        "visits", lambda c: column(c, "page_views", "path_encrypted").update({"from": ["views.url"]}),
        "page_views.path_encrypted comes from views.url, which dataset visits does not declare"),
    "a column from nothing": (
        "visits", lambda c: column(c, "page_views", "path_encrypted").update({"from": []}),
        "path_encrypted > from: Tuple should have at least 1 item"),
    "a generalised column without a measure": (
        "visits", lambda c: column(c, "page_views", "device_class").pop("measure"),
        "page_views.device_class is generalised by no measure"),
    "no root table": (
        "visits", lambda c: c["landed"]["page_views"].pop("root"),
        "dataset visits needs exactly one root table, has 0"),
    "two root tables": (
        "bookings", lambda c: c["landed"]["payment_cards"].update(root=True),
        "dataset bookings needs exactly one root table, has 2"),
    "an unknown purpose of a column": (
        "visits", lambda c: column(c, "page_views", "row_key").update(purposes=["resale"]),
        "column page_views.row_key names 'resale', which is not declared"),
    "an unknown clause of a dataset": (
        "visits", lambda c: c["clauses"].append("Z9"), "dataset visits names 'Z9', which is not declared"),
    "an unknown role of a purpose": (
        "policy", lambda c: c["purposes"]["contract"].update(role="nobody"), "purpose contract names 'nobody'"),
    "an unknown clause of a purpose": (
        "policy", lambda c: c["purposes"]["contract"].update(clause="Z9"), "purpose contract names 'Z9'"),
    "an unknown clause of an open value": (
        "policy", lambda c: c["open_values"]["k"].update(clause="Z9"), "open value k names 'Z9'"),
    "an unknown zone of a role": (
        "policy", lambda c: c["roles"]["analyst"].update(can_use=["attic"]), "role analyst names 'attic'"),
    "an unknown schema of the source": (
        "policy", lambda c: c["roles"]["puller"].update(can_use=["sample"]), "role puller names 'sample'"),
    "an unknown cluster": (
        "policy", lambda c: c["roles"]["puller"].update(cluster="moon"), "puller > cluster: Input should be"),
    "a retention rule of an unknown zone": (
        "retention", lambda c: rule(c, "cards").update(table="attic.cards"), "retention rule cards names 'attic'"),
    "a retention rule of an unknown table of the source": (
        "retention", lambda c: rule(c, "cards_at_source").update(table="wellbe.attic"),
        "retention rule cards_at_source names 'attic'"),
    "a retention rule of an unknown clause": (
        "retention", lambda c: rule(c, "cards").update(clause="Z9"), "retention rule cards names 'Z9'"),
    "a retention rule of an unknown term": (
        "retention", lambda c: rule(c, "cards").update(term="weeks"), "retention rule cards names 'weeks'"),
    "a retention rule of an unknown ground": (
        "retention", lambda c: rule(c, "cards").update(grounds=["whim"]), "retention rule cards names 'whim'"),
    "a retention rule of a table without its schema": (
        "retention", lambda c: rule(c, "cards").update(table="cards"), "names its table with its schema, not 'cards'"),
    "a rule that keeps rows for a while": (
        "retention", lambda c: rule(c, "batches").update(clock="changed_at", term="card_days"),
        "what control.batches keeps has neither clock nor term"),
    "a clock without a term": (
        "retention", lambda c: rule(c, "cards").pop("term"), "a clock of records.payment_cards needs a term"),
    "a rule that deletes at once": (
        "retention", lambda c: [rule(c, "cards").pop(name) for name in ("term", "clock")],
        "a rule that deletes rows of records.payment_cards needs a clock and a term"),
    "a rule that blanks nothing": (
        "retention", lambda c: rule(c, "cvv_at_source").pop("columns"), "that blanks needs columns"),
    "a rule whose rows have no name": (
        "retention", lambda c: rule(c, "cards").pop("key"), "a rule of records.payment_cards that acts needs a key"),
    "a ledger that ends before its rows": (
        "policy", lambda c: c["open_values"]["visit_ledger_days"].update(value=30),
         r"retention rule ledger_of_visits ends before the rows that it tells apart \(page_views\)"),
    "an encrypted column without a key": (
        "bookings", lambda c: column(c, "bookings", "notes_encrypted").pop("key"),
        "bookings.notes_encrypted names no key, its treatment is encrypt"),
    "a tokenised column without a key": (
        "visits", lambda c: column(c, "page_views", "visitor_token").pop("key"),
        "page_views.visitor_token names no key, its treatment is tokenise"),
    "a key on a kept column": (
        "visits", lambda c: column(c, "page_views", "row_key").update(key="views"),
        "page_views.row_key names a key, its treatment is keep"),
    "a key on a generalised column": (
        "visits", lambda c: column(c, "page_views", "ip_version").update(key="views"),
        "page_views.ip_version names a key, its treatment is generalise"),
    "an unknown holder of a column": (
        "bookings", lambda c: column(c, "bookings", "notes_encrypted").update(key="nobody"),
        "column bookings.notes_encrypted names 'nobody', which is not declared"),
    "a kind in the place of a holder": (
        "bookings", lambda c: column(c, "bookings", "notes_encrypted").update(key="subject"),
        "column bookings.notes_encrypted names 'subject', which is not declared"),
    "a holder of another dataset": (
        "bookings", lambda c: column(c, "bookings", "notes_encrypted").update(key="views"),
        "column bookings.notes_encrypted names 'views', which is not declared"),
    "a dataset without holders": (
        "visits", lambda c: c.pop("holders"), "at datasets > visits > holders: Field required"),
    "an unknown kind of a holder": (
        "bookings", lambda c: c["holders"].update(client="person"),
        "holder client names 'person', which is not declared"),
    "an unknown holder that erases a table": (
        "bookings", lambda c: c["landed"]["booking_services"].update(erased_with=["client", "provider"]),
        "table booking_services names 'provider', which is not declared"),
    "an unknown term": (
        "bookings", lambda c: c["landed"]["payment_cards"].update(term="card_weeks"),
        "table payment_cards names 'card_weeks', which is not declared"),
    "an open value in the place of a term's holder": (
        "bookings", lambda c: c["landed"]["payment_cards"].update(term="card_days"),
        "table payment_cards names 'card_days', which is not declared"),
    "an unknown clause of a kind": (
        "keys", lambda c: kind(c, "subject").update(clause="Z9"), "kind of key subject names 'Z9'"),
    "an unknown term of a kind": (
        "keys", lambda c: kind(c, "card_hour").update(term="card_weeks"), "kind of key card_hour names 'card_weeks'"),
    "an unknown margin of a kind": (
        "keys", lambda c: kind(c, "card_hour").update(margin="an_hour"), "kind of key card_hour names 'an_hour'"),
    "an unknown purpose that seals": (
        "keys", lambda c: kind(c, "subject").update(seal=["resale"]), "kind of key subject names 'resale'"),
    "an unknown purpose that opens": (
        "keys", lambda c: kind(c, "subject").update(open=["contract", "resale"]), "kind of key subject names 'resale'"),
    "an unknown purpose of a kind that must be apart": (
        "keys", lambda c: kind(c, "fraud_token").update(seal=["resale"]), "kind of key fraud_token names 'resale'"),
    "a role in the place of a purpose": (
        "keys", lambda c: kind(c, "subject").update(open=["sharer"]), "kind of key subject names 'sharer'"),
    "an unknown kind to be apart from": (
        "keys", lambda c: kind(c, "fraud_token").update(apart_from=["profiles"]),
        "kind of key fraud_token names 'profiles'"),
    "an unknown use of a kind": (
        "keys", lambda c: kind(c, "subject").update(use="sign"), "at keys > subject > use: Input should be"),
    "an unknown scope of a kind": (
        "keys", lambda c: kind(c, "subject").update(scope="week"), "at keys > subject > scope: Input should be"),
    "a term counted from elsewhere": (
        "keys", lambda c: kind(c, "card_hour").update(counted_from="delivery"),
        "at keys > card_hour > counted_from: Input should be"),
    "a kind that does not say who seals": (
        "keys", lambda c: kind(c, "subject").pop("seal"), "at keys > subject > seal: Field required"),
    "an unknown key of a kind": (
        "keys", lambda c: kind(c, "subject").update(colour="red"), "at keys > subject > colour: Extra inputs"),
    "no kinds at all": ("keys", lambda c: c.pop("keys"), "at keys: Field required"),
    "kinds that must be apart and share a purpose that opens": (
        "keys", lambda c: kind(c, "profile").update(open=["saved_cards", "fraud_prevention"]),
        "keys fraud_token and profile must be apart, but screener may use both"),
    "kinds that must be apart and share a purpose that seals": (
        "keys", lambda c: kind(c, "profile").update(seal=["fraud_prevention"]),
        "keys fraud_token and profile must be apart, but screener may use both"),
    "kinds that must be apart and share a role": (
        "policy", lambda c: c["purposes"]["saved_cards"].update(role="screener"),
        "keys fraud_token and profile must be apart, but screener may use both"),
    "a kind that is to be apart from itself": (
        "keys", lambda c: kind(c, "hold").update(apart_from=["hold"]),
        "keys hold and hold must be apart, but screener may use both"),
    "a term as short as a backup's life": (
        "policy", set_values(visit_days=3),
        "keys visit_day die before a backup of the key store expires: shorten key_encryption_key_days"),
    "a term that is as short less its margin": (
        "policy", set_values(card_days=4, card_key_margin_hours=24),
        "keys card_hour die before a backup of the key store expires"),
    "a key-encryption key that lives as long as a data key": (
        "policy", set_values(key_encryption_key_days=10), "keys card_hour die before a backup"),
    "a term that is no number": ("policy", set_values(hold_days="half a year"), "could not convert string to float"),
    "a source table declared twice": (
        "unpulled", lambda c: c["unpulled"].update(page_views={}), "source table page_views is declared twice"),
    "a landed table declared twice": (
        "visits", lambda c: c["landed"].update(bookings={**c["landed"]["page_views"], "root": False}),
        "landed table bookings is declared twice"),
    "a published column from nowhere": (
        "visits", lambda c: c["release"]["columns"]["country_code"].update({"from": "page_views.nation"}),
        "published country_code comes from page_views.nation, which does not land"),
    "a published column from a table from nowhere": (
        "visits", lambda c: c["release"]["columns"]["country_code"].update({"from": "views.country_code"}),
        "published country_code comes from views.country_code, which does not land"),
    "a withheld column that is published": (
        "bookings", lambda c: c["release"]["columns"]["origin_region"].update({"from": "bookings.locale"}),
        "published origin_region comes from bookings.locale, which is withheld: readable, never published"),
    "a third kind of published column": (
        "visits", lambda c: c["release"]["columns"]["country_code"].update(kind="other"),
        "country_code > kind: Input should be 'quasi_identifier', 'sensitive', 'noisy_count' or 'bound'"),
    "a file that speaks for another dataset": (
        "visits", lambda c: c.update(dataset="bookings"),
        r"visits.yaml declares dataset 'bookings'; file and dataset share one name"),
    "a part that another file sets too": (
        "unpulled", lambda c: c.update(time_zone="UTC"), "sets time_zone, which another file of the policy sets too"),
    "a digest of its own": ("unpulled", lambda c: c.update(digest="x"), "sets digest, which another file"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_refused_is(what: str, folder: Path) -> None:
    name, change, message = SPOILT[what]
    with pytest.raises(PolicyError, match=message) as caught:
        load(changed(folder, name, change))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "values",
    [
        {"visit_days": 3.001},
        {"visitor_key_days": 0.01},  # in no backup
        {"card_days": 4, "card_key_margin_hours": 23.9},
        {"key_encryption_key_days": 9.9},
    ],
)
def test_a_term_a_little_longer_than_a_backups_life_is_accepted(folder: Path, values: dict[str, float]) -> None:
    assert load(changed(folder, "policy", set_values(**values))).keys == POLICY.keys


def test_an_undecided_term_blocks_only_what_needs_it(folder: Path) -> None:
    policy = load(changed(folder, "policy", set_values(hold_days=None)))
    assert policy.key_life("visitor_day") == POLICY.key_life("visitor_day")
    with pytest.raises(PolicyError, match="policy value 'hold_days' is not set"):
        policy.key_life("hold")


def test_a_margin_that_would_lengthen_a_term_is_refused(folder: Path) -> None:
    with pytest.raises(PolicyError):
        load(changed(folder, "policy", set_values(card_key_margin_hours=-2)))


def test_a_withheld_value_may_be_counted(folder: Path) -> None:
    assert POLICY.source_tables["page_views"]["view_id"].treatment is Treatment.WITHHOLD
    counted = {"from": "page_views.row_key"}
    for kind in ("noisy_count", "bound"):
        change = {**counted, "kind": kind}
        load(changed(folder, "visits", lambda c, new=change: c["release"]["columns"]["sessions_count"].update(new)))


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("a: 1\na: 2\n", "unpulled.yaml is not sound YAML at line 1: a stands there twice"),
        ("unpulled:\n  t: {ip: {type: text}, ip: {type: int}}\n", "at line 2: ip stands there twice"),
        ("- 1\n", "unpulled.yaml must hold a mapping at its top"),
        ("", "unpulled.yaml must hold a mapping at its top"),
        ("a: 2026-11-31\n", "unpulled.yaml is not sound YAML: day is out of range for month"),
        ("a: 0000-01-01\n", "unpulled.yaml is not sound YAML: year 0 is out of range"),
        ("[" * 101, "unpulled.yaml is not sound YAML: it is nested too deeply"),
        ("[" * 1_000_000, "unpulled.yaml is not sound YAML: it is nested too deeply"),
        ("#" * 1_000_001, "unpulled.yaml is larger than 1,000,000 bytes"),
        ("a: [1\n", "unpulled.yaml is not sound YAML at line 2"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ),
)
def test_a_file_is_one_sound_mapping(folder: Path, text: str, message: str) -> None:
    (folder / "unpulled.yaml").write_text(text, "utf-8")
    with pytest.raises(PolicyError, match=message):
        load(folder)


def test_a_file_may_nest_a_hundred_deep() -> None:
    """libyaml ends the process, not the reading, where its stack is full."""
    assert policy_files.mapping("site.yaml", b"a: " + b"[" * 99 + b"]" * 99)["a"]


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "unpulled.yaml").write_bytes(b"a: \xc3(\n")
    with pytest.raises(PolicyError, match="unpulled.yaml is not sound YAML"):
        load(folder)


def test_models_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        POLICY.time_zone = "UTC"


def test_an_open_value_reads_as_its_decision_and_raises_until_there_is_one(folder: Path) -> None:
    assert POLICY.value("k") == 10
    undecided = load(changed(folder, "policy", lambda c: c["open_values"]["k"].update(value=None)))
    for policy, name in ((undecided, "k"), (POLICY, "no_such_value")):
        with pytest.raises(PolicyError, match=f"policy value '{name}' is not set; decide it in policies/policy.yaml"):
            policy.value(name)


def test_what_nobody_has_confirmed_says_so() -> None:
    assert not POLICY.open_values["k"].is_confirmed
    assert POLICY.open_values["k"].decided_by == UNCONFIRMED
    assert POLICY.open_values["adult_years"].is_confirmed


def test_an_unknown_dataset_is_named_with_those_that_there_are() -> None:
    with pytest.raises(PolicyError, match="no dataset 'visit' in policies/; there are bookings, visits"):
        POLICY.dataset("visit")


def first(policy: Policy) -> list[date]:
    return [policy.first_partition(name) for name in ("bookings", "visits")]


def test_the_first_partition_is_the_sites_where_it_sets_one(folder: Path, tmp_path: Path) -> None:
    assert first(POLICY) == [date(2026, 1, 1)] * 2
    site = tmp_path / "site.yaml"
    assert first(load(folder, site)) == [date(2026, 1, 1)] * 2  # no such file yet
    site.write_text("first_partition: {visits: 2026-03-10}\n", "utf-8")
    assert first(load(folder, site)) == [date(2026, 1, 1), date(2026, 3, 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    (
        ("first_partition: {visit: 2026-03-10}", "the site's first_partition names 'visit', which is not declared"),
        ("first_partition: {visits: soon}", "site > first_partition > visits"),
        ("k: 1", r"at site > k \(in .*site.yaml\): Extra inputs"),
        ("[]", "site.yaml must hold a mapping"),
    ),
)
def test_the_sites_file_is_strict_too(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(text, "utf-8")
    with pytest.raises(PolicyError, match=message):
        load(folder, site)


def test_a_dataset_without_a_first_partition_says_where_to_set_it(folder: Path) -> None:
    policy = load(changed(folder, "policy", lambda c: c["open_values"]["first_partition"]["value"].pop("visits")))
    with pytest.raises(PolicyError, match="dataset visits has no first_partition; set it in policies/policy.yaml"):
        policy.first_partition("visits")


def test_the_digest_is_of_every_file_and_of_the_sites(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    digests = [load().digest, load(folder).digest, load(folder, site).digest]
    assert len(set(digests)) == 1  # the place of the folder is no part of it
    site.write_text("first_partition: {}\n", "utf-8")
    digests.append(load(folder, site).digest)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes() + b"\n")
            digests.append(load(folder).digest)
    assert len(set(digests)) == len(digests) - 2
    assert all(len(digest) == 64 for digest in digests)


def test_a_role_reads_the_columns_of_the_purposes_it_works_for() -> None:
    publisher = set(POLICY.readable_columns("publisher"))
    assert ("bookings", "client_token") in publisher
    assert not [name for _, name in publisher if name.startswith("client_") and name.endswith("_encrypted")]
    assert set(POLICY.readable_columns("analyst")) == set()
    assert ("bookings", "client_email_encrypted") in set(POLICY.readable_columns("sharer"))
    assert POLICY.dataset("visits").landed["page_views"].columns_for("no purpose") == ()


def test_published_columns_are_listed_by_kind_in_their_order() -> None:
    release = POLICY.dataset("visits").release
    cell = ("recorded_date", "country_code", "device_class", "page_category", "language_code")
    assert release.of_kind("quasi_identifier") == cell
    assert release.of_kind("noisy_count") == ("sessions_count",)
    assert release.of_kind("bound") == ("sessions_low", "sessions_high")
    assert release.of_kind("sensitive") == ()
    assert release.is_noisy
    assert not POLICY.dataset("bookings").release.is_noisy


@pytest.mark.parametrize("what", ["a folder", "a link that leads nowhere", "a link to itself", "a pipe"])
def test_what_is_no_file_is_not_taken_for_a_site_without_one(tmp_path: Path, what: str) -> None:
    site = tmp_path / "site.yaml"
    make: dict[str, Callable[[], object]] = {
        "a folder": site.mkdir,
        "a link that leads nowhere": lambda: site.symlink_to(tmp_path / "nowhere"),
        "a link to itself": lambda: site.symlink_to(site),
        "a pipe": lambda: os.mkfifo(site),
    }
    make[what]()
    with pytest.raises(PolicyError, match=r"site\.yaml (is not a file|cannot be read)"):
        load(site=site)


@pytest.mark.parametrize("rows", ["true", "0", "-1", "1.5", "'1000'", "null"])
def test_a_wrong_number_in_the_sites_file_is_told_with_the_file(tmp_path: Path, rows: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(f"shard_rows: {rows}\n")
    with pytest.raises(PolicyError, match=r"not valid at site > shard_rows \(in .*site\.yaml\)"):
        load(site=site)
