"""`governance recipients`, as a data engineer calls it: who may have something, and what a certificate's life leaves in
the run log."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

import builders
import certificate_files as made
from aftermath import entries
from builders import World
from governance import policy as policies
from governance import steps
from governance.__main__ import main
from governance.embedded.site import Site
from governance.errors import CertificateError, ClockError, EndpointUnavailableError, InputError
from governance.run_log import Run
from governance.sharing import folders
from governance.sharing.certificate_folder import KEY_SUFFIX, CertificateFolder
from governance.sharing.certificates import certificate
from governance.sharing.sftp import SftpOutbox
from governance.steps import CertificateChange, Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("F1"), pytest.mark.clause("H1")]

NOW = datetime.now(UTC)
"""Commands work by the machine's clock."""
Tell = Callable[..., str]


def pem(number: int = 0, **changes: datetime) -> bytes:
    """A certificate that is good now."""
    return made.pem(number, **{"begins": NOW - timedelta(days=1), "ends": NOW + timedelta(days=90)} | changes)


@pytest.fixture
def endpoint(tmp_path: Path) -> Path:
    (tmp_path / "clinic").mkdir()
    folders.prepare(tmp_path / "clinic", "clinic")
    return tmp_path / "clinic"


@pytest.fixture
def registered(here: Site, world: World, endpoint: Path) -> Iterator[Site]:
    """The site with a clinic in its register, and a hotel whose agreement has ended."""
    before = here.policy_path.read_text("utf-8") if here.policy_path.exists() else None
    today = NOW.date()
    clinic = {
        "name": "North Clinic", "kind": "health_provider", "provider_id": 101, "contract": "1.0.0",
        "agreed_from": today - timedelta(days=30), "agreed_until": today + timedelta(days=30), "country_code": "SE",
        "endpoint": endpoint.as_uri(), "options": ["birth_date"], "acknowledgement_hours": 48,
    }  # fmt: skip
    hotel = clinic | {
        "name": "Sea Hotel", "kind": "travel_provider", "provider_id": 202, "options": [],
        "agreed_until": today - timedelta(days=2), "endpoint": "sftp://wellbe@sftp.example.com/inbox",
    }  # fmt: skip
    site = yaml.safe_load(before) if before else {"first_partition": {"bookings": builders.DAY, "visits": builders.DAY}}
    document = site | {"recipients": {"clinic": clinic, "hotel": hotel}}
    here.policy_path.write_text(yaml.safe_dump(document), "utf-8")
    yield here
    here.policy_path.write_text(before, "utf-8") if before else here.policy_path.unlink()


@pytest.fixture
def tell(registered: Site, capsys: pytest.CaptureFixture[str]) -> Tell:
    """What a command says, which ends with this code."""

    def told(*arguments: str, code: int = 0) -> str:
        assert main(["recipients", *arguments]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    return told


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clinic.pem"
    path.write_bytes(pem())
    return path


def folder(site: Site) -> CertificateFolder:
    return CertificateFolder(site.certificates_path)


# -- looking -----------------------------------------------------------------------------------------------------------


def test_list_says_of_everybody_why_nothing_goes_to_them_or_that_something_may(
    registered: Site, tell: Tell, file: Path
) -> None:
    lines = {line.split()[0]: line.split()[-1] for line in tell("list").splitlines()}
    assert lines == {"RECIPIENT": "STANDING", "clinic": "certificate_missing", "hotel": "agreement_ended"}
    tell("add", "clinic", str(file))
    folder(registered).add("formerly", pem(1), NOW)
    said = tell("list")
    assert f"{NOW + timedelta(days=90):%Y-%m-%d}" in said
    assert said.splitlines()[1].endswith("good")
    assert said.endswith("certificates of somebody who is in the register no more: formerly\n")


def test_list_says_when_nobody_is_registered(here: Site, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipients", "list"]) == 0
    assert "nobody is registered" in capsys.readouterr().out


def test_show_tells_the_agreement_and_every_certificate_and_never_whom_one_names(tell: Tell, file: Path) -> None:
    assert "no certificate yet" in tell("show", "clinic")
    tell("add", "clinic", str(file))
    tell("revoke", "clinic", "--reason", "request 7")
    said = tell("show", "clinic")
    assert "birth_date" in said
    assert "certificate_revoked" in said
    assert certificate(pem()).fingerprint in said
    assert "RSA of 3072 bits" in said
    assert "current, revoked" in said
    assert "request 7" in said
    assert "Exempel" not in said


@pytest.mark.parametrize(
    "action",
    [("show",), ("add", "--demo"), ("rotate", "--demo"), ("revoke", "--reason", "request 7"), ("test",)],
    ids=lambda action: action[0],
)
def test_whoever_is_not_registered_is_refused_and_not_named(tell: Tell, action: tuple[str, ...]) -> None:
    said = tell(action[0], "somebody", *action[1:], code=77)
    assert "not registered" in said
    assert "somebody" not in said


def test_test_looks_at_contract_standing_and_endpoint_one_by_one(tell: Tell, file: Path, endpoint: Path) -> None:
    before = tell("test", "clinic", code=1).splitlines()
    assert [line.split()[0] for line in before] == ["ok", "PROBLEM", "ok"]
    assert "there is no certificate" in before[1]
    tell("add", "clinic", str(file))
    assert tell("test", "clinic").count("ok ") == 3
    assert [path.name for path in endpoint.iterdir()] == [folders.MARKER]  # the look left nothing behind
    (endpoint / folders.MARKER).unlink()
    assert f"has no file {folders.MARKER}" in tell("test", "clinic", code=1)
    endpoint.rmdir()
    assert "PROBLEM  endpoint: recipient clinic: its outbox " in tell("test", "clinic", code=1)


def test_test_asks_the_outbox_itself_whatever_its_scheme(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "its outbox needs a file sftp_key in this site's private folder" in tell("test", "hotel", code=1)

    def away(_: object) -> None:
        raise EndpointUnavailableError("the server is away")

    monkeypatch.setattr(SftpOutbox, "__init__", lambda *_: None)
    monkeypatch.setattr(SftpOutbox, "probe", away)
    assert "PROBLEM  endpoint: the server is away" in tell("test", "hotel", code=1)
    monkeypatch.setattr(SftpOutbox, "probe", lambda _: None)
    assert [line.split()[0] for line in tell("test", "hotel", code=1).splitlines()] == ["ok", "PROBLEM", "ok"]


def test_test_says_when_an_option_is_none_of_the_contracts(registered: Site, tell: Tell) -> None:
    document = yaml.safe_load(registered.policy_path.read_text("utf-8"))
    document["recipients"]["hotel"]["options"] = ["clinical_note"]
    registered.policy_path.write_text(yaml.safe_dump(document), "utf-8")
    assert "PROBLEM  contract and options: contract travel_provider 1.0.0: clinical_note cannot be asked for" in tell(
        "test", "hotel", code=1
    )


# -- certificates ------------------------------------------------------------------------------------------------------


def test_a_certificates_life_stands_in_the_run_log_by_fingerprint(
    registered: Site, tell: Tell, tmp_path: Path, file: Path
) -> None:
    (tmp_path / "next.pem").write_bytes(pem(1))
    assert "compare the fingerprint" in tell("add", "clinic", str(file))
    tell("rotate", "clinic", str(tmp_path / "next.pem"))
    first, second = certificate(pem()).fingerprint, certificate(pem(1)).fingerprint
    tell("revoke", "clinic", "--fingerprint", first[:12].upper(), "--reason", "request 7")
    kept = folder(registered).kept("clinic")
    assert [(k.certificate.fingerprint, k.is_current, k.certificate.revoked_at is None) for k in kept] == [
        (first, False, False), (second, True, True),
    ]  # fmt: skip
    logged = [e for e in entries(registered, "%_certificate") if e["phase"] == "outcome"]
    assert [(e["event"], e["outcome"], e["partition_key"], e.get("reason")) for e in logged] == [
        ("add_certificate", "passed", "clinic", None),
        ("rotate_certificate", "passed", "clinic", None),
        ("revoke_certificate", "passed", "clinic", "request 7"),
    ]
    assert [e["details"]["fingerprint"] for e in logged] == [first, second, first]
    assert [e["details"].get("before") for e in logged] == [None, first, second]
    assert {e["run"]["trigger"] for e in logged} == {"manual"}
    assert {tuple(e["clauses"]) for e in logged} == {("F1", "H1")}
    intents = [e for e in entries(registered, "%_certificate") if e["phase"] == "intent"]
    assert [e["event"] for e in intents] == [e["event"] for e in logged]
    assert "Exempel" not in str(logged + intents)


REFUSED: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "no certificate": (lambda: b"hello", 65, "no X.509 certificate"),
    "a private key": (lambda: pem() + made.private_pem(), 65, "holds a private key"),
    "expired": (lambda: pem(ends=NOW - timedelta(hours=1)), 77, "expired"),
    "not yet valid": (lambda: pem(begins=NOW + timedelta(hours=1)), 77, "is valid from"),
    "weak": (lambda: made.pem(key=made.rsa_key(0, 2048), ends=NOW + timedelta(days=9)), 77, "2048 bits"),
    "a key that cannot be encrypted to": (
        lambda: made.pem(key=made.elliptic_key(), ends=NOW + timedelta(days=9)), 77, "encrypted to RSA keys",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_certificate_is_refused_on_the_record_and_nothing_is_kept(
    registered: Site, tell: Tell, file: Path, what: str
) -> None:
    content, code, told = REFUSED[what]
    file.write_bytes(content())
    said = tell("add", "clinic", str(file), code=code)
    assert told in said
    assert said.count("\n") == 1
    assert folder(registered).kept("clinic") == ()
    (failed,) = (e for e in entries(registered, "add_certificate") if e["phase"] == "outcome")
    assert failed["outcome"] == "failed"


def test_a_file_that_is_not_there_or_far_too_large_is_no_certificate(tell: Tell, tmp_path: Path) -> None:
    assert "No such file" in tell("add", "clinic", str(tmp_path / "none.pem"), code=74)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1_000_001)
    assert "larger than 1,000,000 bytes" in tell("add", "clinic", str(tmp_path / "large"), code=65)


def test_a_demo_makes_a_certificate_and_its_key_and_says_so_wherever_it_is_shown(registered: Site, tell: Tell) -> None:
    said = tell("add", "clinic", "--demo")
    assert "DEMO" in said
    assert "no real person's data" in said
    current = folder(registered).current("clinic")
    assert current is not None
    (key,) = (registered.certificates_path / "clinic").glob(f"*{KEY_SUFFIX}")
    assert key.stat().st_mode & 0o777 == 0o600
    spki = subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout"], capture_output=True, check=True).stdout
    of_pem = subprocess.run(
        ["openssl", "x509", "-noout", "-pubkey"], input=current.pem, capture_output=True, check=True
    ).stdout
    assert spki == of_pem
    assert " demo" in tell("list")
    assert "demo" in tell("show", "clinic")
    (outcome,) = (e for e in entries(registered, "add_certificate") if e["phase"] == "outcome")
    assert outcome["details"]["demo"] == "yes"
    tell("rotate", "clinic", "--demo")
    assert len(folder(registered).kept("clinic")) == 2


def test_a_command_that_was_killed_is_given_again_and_says_that_nothing_was_changed(
    registered: Site, tell: Tell, file: Path
) -> None:
    folder(registered).add("clinic", pem(), NOW)  # and killed before the outcome
    assert "as it was before" in tell("add", "clinic", str(file))
    folder(registered).revoke("clinic", None, NOW, "request 7")
    assert "as it was before" in tell("revoke", "clinic", "--reason", "request 7")
    assert [e["outcome"] for e in entries(registered, "%_certificate") if e["phase"] == "outcome"] == ["replayed"] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "clinic"),
        ("add", "clinic", "file.pem", "--demo"),
        ("revoke", "clinic"),
        ("revoke", "clinic", "--reason", "alva@example.com"),
        ("revoke", "clinic", "--fingerprint", "xyz", "--reason", "request 7"),
        ("revoke", "clinic", "--fingerprint", "", "--reason", "request 7"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_and_changes_nothing(
    registered: Site, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["recipients", *arguments])
    assert left.value.code == 2
    assert entries(registered, "%_certificate") == []


def test_a_help_says_that_the_register_is_policy(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["recipients", "--help"], ["recipients", "add", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "policies/recipients.yaml" in " ".join(capsys.readouterr().out.split())


# -- the step ----------------------------------------------------------------------------------------------------------


def by_hand() -> Run:
    return builders.run("by hand")


def test_a_revocation_says_why(space: Workspace, world: World, registered: Site) -> None:

    space = replace(space, policy=policies.load(site=registered.policy_path), clock=lambda: NOW)
    with pytest.raises(ClockError, match="ahead of our database's"):
        steps.change_certificate(space, CertificateChange("add", "clinic", pem()), by_hand())
    space = replace(space, database_clock=lambda: NOW)
    assert steps.change_certificate(space, CertificateChange("add", "clinic", pem()), by_hand()).is_new
    with pytest.raises(InputError, match="say why"):
        steps.change_certificate(space, CertificateChange("revoke", "clinic"), by_hand())
    with pytest.raises(CertificateError, match="no X.509"):
        steps.change_certificate(space, CertificateChange("rotate", "clinic"), by_hand())
