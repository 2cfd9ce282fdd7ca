"""Who stands in the register, and whether anything may go to them at an instant: both sides of every boundary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import certificate_files as made
from certificate_files import NOW
from governance import policy as policies
from governance.errors import PolicyError, RecipientError
from governance.policy import POLICY_FOLDER, Policy
from governance.policy_files import parts
from governance.sharing import contract_files, endpoints
from governance.sharing.allowances import Sharing
from governance.sharing.certificates import Certificate, certificate
from governance.sharing.recipients import HaltedBy, HaltedError, registered, standing
from governance.sharing.register import Recipient

pytestmark = [pytest.mark.clause("H1"), pytest.mark.clause("F1")]

POLICY = policies.load()
TERMS = contract_files.terms(POLICY)
GOOD = certificate(made.pem(begins=datetime(2026, 1, 1, tzinfo=UTC)))
SECOND = timedelta(seconds=1)


def recipient(**changes: Any) -> Recipient:
    """A clinic with an agreement for March 2026."""
    stated = {
        "name": "North Clinic",
        "kind": "health_provider",
        "provider_id": 101,
        "contract": "1.0.0",
        "agreed_from": date(2026, 3, 1),
        "agreed_until": date(2026, 3, 31),
        "country_code": "SE",
        "endpoint": "file:///srv/hand-over/clinic",
        "acknowledgement_hours": 48,
    }
    return Recipient.model_validate(stated | changes)


def halted(found: Certificate | None = GOOD, now: datetime = NOW, **changes: Any) -> HaltedBy | None:
    """Why nothing goes to the clinic; None when something may."""
    register = {"clinic": recipient(**changes)}
    try:
        assert standing(register, "clinic", found, TERMS, now) == register["clinic"]
    except HaltedError as error:
        assert "clinic" in str(error)
        assert "nothing is handed over" in str(error)
        return error.halted_by
    return None


# -- standing ----------------------------------------------------------------------------------------------------------


def test_who_is_registered_with_an_agreement_a_contract_and_a_certificate_may_have_something() -> None:
    assert halted() is None


def test_who_is_not_registered_gets_nothing_and_is_not_named() -> None:
    for register in ({}, {"clinic": recipient()}):
        with pytest.raises(RecipientError, match="not registered") as refused:
            standing(register, "somebody@example.com", GOOD, TERMS, NOW)
        assert isinstance(refused.value, HaltedError)
        assert refused.value.halted_by is HaltedBy.NOT_REGISTERED
        assert "somebody" not in str(refused.value)
    assert registered({"clinic": recipient()}, "clinic") == recipient()


# Days are those of Stockholm: in winter an hour, in summer two hours ahead of UTC; the night to 29 March changes that.
AGREEMENT = {
    "the last instant before its first day": (datetime(2026, 2, 28, 22, 59, 59, tzinfo=UTC), "agreement_not_begun"),
    "the first instant of its first day": (datetime(2026, 2, 28, 23, tzinfo=UTC), None),
    "the last instant of its last day": (datetime(2026, 3, 31, 21, 59, 59, tzinfo=UTC), None),
    "the first instant after its last day": (datetime(2026, 3, 31, 22, tzinfo=UTC), "agreement_ended"),
}


@pytest.mark.parametrize("when", AGREEMENT)
def test_an_agreement_holds_from_its_first_day_through_its_last(when: str) -> None:
    now, by = AGREEMENT[when]
    assert halted(now=now) == by


def test_an_agreement_of_one_day_holds_for_that_day() -> None:
    day = NOW.date()
    assert halted(agreed_from=day, agreed_until=day) is None
    assert halted(agreed_from=day, agreed_until=day, now=NOW + timedelta(days=1)) is HaltedBy.AGREEMENT_ENDED
    assert halted(agreed_from=day, agreed_until=day, now=NOW - timedelta(days=1)) is HaltedBy.AGREEMENT_NOT_BEGUN


CERTIFICATE = {
    "a second before it is valid": (GOOD.not_before - SECOND, "certificate_not_yet_valid"),
    "the first instant at which it is valid": (GOOD.not_before, None),
    "the last instant at which it is valid": (GOOD.not_after, None),
    "a second after": (GOOD.not_after + SECOND, "certificate_expired"),
}


@pytest.mark.parametrize("when", CERTIFICATE)
def test_a_certificate_holds_through_its_last_instant(when: str) -> None:
    now, by = CERTIFICATE[when]
    assert halted(now=now, agreed_from=date(2025, 1, 1), agreed_until=date(2028, 1, 1)) == by


def test_without_a_certificate_or_with_a_revoked_one_nothing_goes() -> None:
    assert halted(None) is HaltedBy.CERTIFICATE_MISSING
    assert halted(replace(GOOD, revoked_at=NOW)) is HaltedBy.CERTIFICATE_REVOKED


@pytest.mark.parametrize(
    ("bits", "by"), [(3072, None), (3071, HaltedBy.CERTIFICATE_WEAK), (4096, None), (2048, HaltedBy.CERTIFICATE_WEAK)]
)
def test_an_rsa_key_has_3072_bits_at_least(bits: int, by: HaltedBy | None) -> None:
    assert halted(replace(GOOD, key_bits=bits)) == by


@pytest.mark.parametrize(
    "changes",
    [
        {"key_type": "EC", "key_bits": 0},
        {"signature_hash": "sha1"},
        {"signature_hash": "md5"},
        {"signature_hash": "unknown"},
        {"can_encrypt": False},
    ],
    ids=str,
)
def test_a_weak_certificate_halts(changes: dict[str, Any]) -> None:
    assert halted(replace(GOOD, **changes)) is HaltedBy.CERTIFICATE_WEAK


@pytest.mark.parametrize(
    ("country", "basis", "by"),
    [
        ("SE", None, None),
        ("NO", None, None),  # EEA
        ("CH", None, None),  # a decision of the Commission about the whole country
        ("TR", None, HaltedBy.NO_TRANSFER_BASIS),
        ("TR", "standard_contractual_clauses", None),
        ("TR", "explicit_consent", None),
        ("US", None, HaltedBy.NO_TRANSFER_BASIS),  # a decision about some recipients there
        ("US", "adequacy_decision", None),
        ("ZZ", None, HaltedBy.NO_TRANSFER_BASIS),
    ],
)
def test_a_third_country_needs_a_basis(country: str, basis: str | None, by: HaltedBy | None) -> None:
    assert halted(country_code=country, transfer_basis=basis) == by


@pytest.mark.parametrize(
    ("kind", "version", "by"),
    [
        ("health_provider", "1.0.0", None),
        ("travel_provider", "1.0.0", None),
        ("health_provider", "1.0.1", HaltedBy.CONTRACT_UNKNOWN),
        ("health_provider", "9.0.0", HaltedBy.CONTRACT_UNKNOWN),
    ],
)
def test_the_contract_is_a_version_that_is_kept(kind: str, version: str, by: HaltedBy | None) -> None:
    assert halted(kind=kind, contract=version) == by


def test_a_kind_of_which_no_contract_is_kept_halts() -> None:
    with pytest.raises(HaltedError, match="no version 1.0.0 of the contract health_provider is kept"):
        standing({"clinic": recipient()}, "clinic", GOOD, replace(TERMS, contracts={}), NOW)


def test_every_reason_to_halt_is_told_by_a_test_of_this_file() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [by for by in HaltedBy if f"HaltedBy.{by.name}" not in text and f'"{by.value}"' not in text] == []


# -- the register ------------------------------------------------------------------------------------------------------


def test_nobody_is_registered_until_the_controller_has_an_agreement() -> None:
    assert POLICY.all_recipients == {}


BAD = {
    "an end before the beginning": ({"agreed_until": date(2026, 2, 28)}, "ends before it begins"),
    "a kind nobody knows": ({"kind": "bank"}, "health_provider"),
    "a number of no provider": ({"provider_id": 0}, "greater than 0"),
    "a number as a text": ({"provider_id": "101"}, "valid integer"),
    "a contract without third number": ({"contract": "1.0"}, "match pattern"),
    "a contract of another way to count": ({"contract": "1.0.0-rc1"}, "match pattern"),
    "a country in small letters": ({"country_code": "se"}, "match pattern"),
    "Norway without quotes": ({"country_code": False}, "valid string"),
    "an option that is none": ({"options": ["email"]}, "birth_date"),
    "an option twice": ({"options": ["birth_date", "birth_date"]}, "stands there twice"),
    "no hour to acknowledge": ({"acknowledgement_hours": 0}, "greater than 0"),
    "something nobody knows": ({"phone": "1"}, "Extra inputs"),
    "an endpoint that is a path": ({"endpoint": "/srv/clinic"}, "is none of file://, sftp://, s3://"),
    "an endpoint of the open web": ({"endpoint": "https://example.com/inbox"}, "is none of file://, sftp://, s3://"),
    "a store that no outbox reaches": ({"endpoint": "gs://bucket/prefix"}, "is none of file://, sftp://, s3://"),
    "a password": ({"endpoint": "sftp://u:hunter2@example.com/inbox"}, "the endpoint of North Clinic holds a password"),
    "a hidden folder": ({"endpoint": "file:///srv/.clinic"}, "hidden folders"),
    "SFTP without an account": ({"endpoint": "sftp://example.com/inbox"}, "does not look like sftp://user@host"),
    "a bucket with an account": ({"endpoint": "s3://connection@bucket/prefix"}, "does not look like s3://bucket"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_entry_is_refused(what: str) -> None:
    changes, told = BAD[what]
    with pytest.raises(ValidationError, match=told) as refused:
        recipient(**changes)
    assert "hunter2" not in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize("scheme", endpoints.SCHEMES)
def test_an_endpoint_is_of_any_kind_that_an_outbox_is_of(scheme: str) -> None:
    good = {"file": "file:///srv/in", "sftp": "sftp://u@sftp.example.com:2222/in", "s3": "s3://bucket/prefix"}
    assert endpoints.parsed("clinic", recipient(endpoint=good[scheme]).endpoint).scheme == scheme


def policy(here: dict[str, Any], at_the_site: dict[str, Any] | None = None) -> Policy:
    """The policy with these recipients, its own and the site's. Raises PolicyError."""
    document = parts(POLICY_FOLDER, None)
    document["recipients"] = {name: each.model_dump() for name, each in here.items()}
    document["site"]["recipients"] = {name: each.model_dump() for name, each in (at_the_site or {}).items()}
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise PolicyError(error.errors()[0]["msg"]) from None


def other(**changes: Any) -> Recipient:
    """A hotel that shares nothing with the clinic."""
    return recipient(
        **{"kind": "travel_provider", "provider_id": 202, "endpoint": "file:///srv/hand-over/hotel"} | changes
    )


def test_a_site_adds_its_own() -> None:
    both = policy({"clinic": recipient()}, {"hotel": other()})
    assert both.all_recipients == {"clinic": recipient(), "hotel": other()}


TOGETHER = {
    "an id twice": ({"clinic": recipient()}, {"clinic": other()}, "recipient clinic is declared twice"),
    "one provider": ({"clinic": recipient()}, {"hotel": other(provider_id=101)}, "are the same provider"),
    "one endpoint": (
        {"clinic": recipient()}, {"hotel": other(endpoint="file:///srv/hand-over/clinic/")}, "have one endpoint",
    ),
    "an endpoint within another": (
        {"clinic": recipient()}, {"hotel": other(endpoint="file:///srv/hand-over/clinic/hotel")}, "within the other's",
    ),
    "an id of a path": ({"../clinic": recipient()}, {}, "an id is"),
    "an id in capitals": ({"Clinic": recipient()}, {}, "an id is"),
    "an id that is too long": ({"c" * 64: recipient()}, {}, "an id is"),
    "a basis that policy does not name": (
        {"clinic": recipient(transfer_basis="handshake")}, {}, "recipient clinic names 'handshake'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOGETHER)
def test_a_register_that_does_not_hold_together_is_refused(what: str) -> None:
    here, there, told = TOGETHER[what]
    with pytest.raises(PolicyError, match=told):
        policy(here, there)


def test_what_no_outbox_can_open_is_refused_when_the_policy_is_read_and_is_not_quoted(tmp_path: Path) -> None:
    stated = recipient().model_dump(mode="json") | {"endpoint": "gs://hunter2/prefix"}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump({"recipients": {"clinic": stated}}))
    with pytest.raises(
        PolicyError, match="site > recipients > clinic.*the endpoint of North Clinic is none"
    ) as refused:
        policies.load(site=tmp_path / "site.yaml")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("endpoint", ["file:///srv/hand-over/clinic2", "file:///srv/hand-over/cli"])
def test_an_endpoint_whose_name_merely_begins_like_another_is_another(endpoint: str) -> None:
    assert len(policy({"clinic": recipient()}, {"c" * 63: other(endpoint=endpoint)}).all_recipients) == 2


def test_the_example_in_the_policy_file_is_a_good_entry() -> None:
    text = (POLICY_FOLDER / "recipients.yaml").read_text("utf-8")
    example = [line.removeprefix("#") for line in text.splitlines() if line.startswith("#   ")]
    (stated,) = yaml.safe_load("\n".join(example)).values()
    assert Recipient.model_validate(stated).options == ("clinical_note", "birth_date")
    assert stated["transfer_basis"] in POLICY.sharing.transfers.bases


def test_every_country_of_the_lists_is_there_once() -> None:
    transfers = POLICY.sharing.transfers
    assert (len(transfers.free), len(set(transfers.free) | set(transfers.adequate))) == (
        30, 30 + len(transfers.adequate),
    )  # fmt: skip
    assert not transfers.needs_basis("NO")


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"identity_days": 1095}, None),
        ({"identity_days": 1096}, "less than or equal to 1095"),
        ({"identity_days": 61}, None),
        ({"identity_days": 60}, "about to end from its first day on"),
        ({"identity_days": 730.5}, "valid integer"),
        ({"part_bytes": 16_000_000}, None),
        ({"part_bytes": 15_999_999}, "greater than or equal to 16000000"),
        ({"part_bytes": 256_000_000}, None),
        ({"part_bytes": 256_000_001}, "less than or equal to 256000000"),
        ({"warned_days": {"certificate": 1}}, None),
        ({"warned_days": {"certificate": 0}}, "greater than 0"),
        ({"warned_days": {"everything": 1}}, "Extra inputs"),
    ],
    ids=str,
)
def test_what_policy_says_of_identity_parts_and_warnings_is_within_bounds(
    stated: dict[str, Any], told: str | None
) -> None:
    if told is None:
        assert Sharing.model_validate(stated)
        return
    with pytest.raises(ValidationError, match=told):
        Sharing.model_validate(stated)
