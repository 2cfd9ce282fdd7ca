"""What goes wrong on the way to a provider: nobody receives twice, nobody what they should not, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import builders
import recipients
from aftermath import entries, through
from builders import DAY, NOW, World
from governance import steps, warehouse
from governance.embedded.site import Site
from governance.errors import (
    ClockError,
    ContendedError,
    EndpointUnavailableError,
    GovernanceError,
    SealingUnavailableError,
    WarehouseUnavailableError,
)
from governance.run_log import Batch
from governance.sharing import cms, demo_certificates, outbox
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.outbox import Outbox
from governance.sharing.recipients import HaltedError
from governance.steps import Workspace, reading_source
from recipients import AGENCY, CLINIC

pytestmark = [pytest.mark.pg, *(pytest.mark.clause(clause) for clause in ("F1", "H1", "N1"))]

KEY = DAY.isoformat()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the recipients' outboxes are."""
    return tmp_path / "outboxes"


@pytest.fixture
def space(site: Site, world: World, folder: Path) -> Workspace:
    """A day that was accepted: two bookings of a treatment and a journey."""
    register = recipients.outboxes(site, folder)
    for _ in range(2):
        recipients.booking(site, world)
    through(builders.workspace(site), "bookings", KEY)
    return recipients.sharing(site, register)


def share(space: Workspace, now: datetime = NOW) -> dict[str, int]:
    later = replace(space, clock=lambda: now, database_clock=lambda: now, source_clock=lambda _: now)
    return steps.share(later, KEY, builders.run("sharing"))


def got(folder: Path, name: str) -> list[recipients.Opened]:
    return recipients.opened(folder / name, name, folder)


def rows_of(folder: Path, name: str) -> int:
    """Rows that a recipient has, in whatever delivery."""
    return sum(one.manifest["rows"] for one in got(folder, name))


class Faulty:
    """An outbox that fails at one call, before what it does or after it."""

    def __init__(self, inner: Outbox, error: GovernanceError, *, after: bool) -> None:
        self._inner, self._error, self._after = inner, error, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def put(self, delivery_id: str, files: Mapping[str, Path]) -> None:
        if self._after:
            self._inner.put(delivery_id, files)
        raise self._error


def with_faulty(space: Workspace, site: Site, *, after: bool) -> Workspace:
    """The clinic's outbox fails; that of the agency does not."""

    def opened(name: str, url: str) -> Outbox:
        inner = outbox.opened(name, url, site.outbox_secrets_path)
        lost = EndpointUnavailableError(f"recipient {name}: its outbox gave no answer; the task tries again")
        return Faulty(inner, lost, after=after) if name == CLINIC else inner  # type: ignore[return-value]

    return replace(space, outbox=opened)


def withdraw(site: Site, world: World) -> None:
    """Every client withdraws the consent to health data."""
    for (booking,) in builders.read(site, "SELECT booking_id FROM wellbe.bookings", role="wellbe_owner"):
        recipients.says(site, world, f"{booking}/1", "withdrawn", NOW)


@pytest.mark.parametrize("after", [False, True], ids=["before it is there", "after it is there"])
def test_an_outbox_that_fails_gets_the_delivery_once(space: Workspace, site: Site, folder: Path, after: bool) -> None:
    with pytest.raises(EndpointUnavailableError):
        share(with_faulty(space, site, after=after))
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (2 * after, 2)
    done = share(space)
    assert done == ({"found_sent": 1} if after else {"deliveries": 1, "rows": 2, "bookings": 2})
    assert share(space) == {}
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (2, 2)
    (settled,) = entries(site, "settle_delivery", "outcome")
    assert settled["details"]["state"] == ("sent" if after else "given up")


def test_what_was_announced_and_broken_off_goes_nowhere_when_a_consent_is_withdrawn_meanwhile(
    space: Workspace, site: Site, world: World, folder: Path
) -> None:
    with pytest.raises(EndpointUnavailableError):
        share(with_faulty(space, site, after=False))
    withdraw(site, world)
    assert share(space, NOW + timedelta(hours=1)) == {"excluded no_consent": 2}
    assert got(folder, CLINIC) == []
    assert builders.read(site, "SELECT count(*) FROM sharing.obligations") == [(0,)]


def test_what_is_there_and_was_not_closed_is_revoked_when_a_consent_is_withdrawn_meanwhile(
    space: Workspace, site: Site, world: World, folder: Path
) -> None:
    with pytest.raises(EndpointUnavailableError):
        share(with_faulty(space, site, after=True))
    withdraw(site, world)
    done = share(space, NOW + timedelta(hours=1))
    assert (done["found_sent"], done["obligations"], done["notices"], done["revoked"]) == (1, 2, 1, 2)
    assert [one.manifest["kind"] for one in got(folder, CLINIC)] == ["rows", "revocation"]


def test_what_was_taken_away_and_acknowledged_before_it_was_closed_counts_as_sent(
    space: Workspace, site: Site, world: World, folder: Path
) -> None:
    with pytest.raises(EndpointUnavailableError):
        share(with_faulty(space, site, after=True))
    recipients.acknowledge(folder / CLINIC)
    for delivery in (folder / CLINIC).glob("*/"):
        shutil.rmtree(delivery)
    withdraw(site, world)
    done = share(space, NOW + timedelta(hours=1))
    assert (done["found_sent"], done["acknowledged"], done["revoked"]) == (1, 1, 2)
    assert [one.manifest["kind"] for one in got(folder, CLINIC)] == ["revocation"]


class Overtaken:
    """An outbox whose put begins after the try has lost its connection, and another try has come and gone."""

    def __init__(self, inner: Outbox, meanwhile: Callable[[], object]) -> None:
        self._inner, self._meanwhile = inner, meanwhile

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def put(self, delivery_id: str, files: Mapping[str, Path]) -> None:
        self._meanwhile()
        self._inner.put(delivery_id, files)


def test_what_a_try_without_its_lock_put_there_after_it_was_given_up_is_known_and_taken_back(
    space: Workspace, site: Site, world: World, folder: Path
) -> None:
    clinic = {CLINIC: space.policy.all_recipients[CLINIC]}
    space = replace(space, policy=space.policy.model_copy(update={"recipients": clinic}))

    def meanwhile() -> None:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pipeline'"
        builders.read(site, cut, role="postgres")
        withdraw(site, world)
        assert share(space) == {"excluded no_consent": 2}

    def opened(name: str, url: str) -> Outbox:
        return Overtaken(outbox.opened(name, url, site.outbox_secrets_path), meanwhile)  # type: ignore[return-value]

    with pytest.raises(WarehouseUnavailableError):
        share(replace(space, outbox=opened))
    assert rows_of(folder, CLINIC) == 2
    done = share(space, NOW + timedelta(hours=1))
    assert (done["found_sent"], done["revoked"]) == (1, 2)
    assert [one.manifest["kind"] for one in got(folder, CLINIC)] == ["rows", "revocation"]


@pytest.mark.parametrize("said", ["0" * 64, "", "x" * 100_000, '{"sha256": 1}'])
def test_an_acknowledgement_of_something_else_makes_no_delivery_sent(
    space: Workspace, site: Site, folder: Path, said: str
) -> None:
    with pytest.raises(EndpointUnavailableError):
        share(with_faulty(space, site, after=False))
    query = "SELECT delivery_id FROM sharing.deliveries WHERE sent_at IS NULL"
    ((delivery,),) = builders.read(site, query)
    (folder / CLINIC / f"{delivery}.ack").write_text(said)
    assert share(space)["deliveries"] == 1
    assert rows_of(folder, CLINIC) == 2


def test_tables_that_were_put_back_to_before_a_delivery_do_not_make_it_again(
    space: Workspace, site: Site, folder: Path
) -> None:
    share(space)
    builders.tamper(site, "DELETE FROM sharing.deliveries", "DELETE FROM sharing.delivered_rows")
    assert share(space) == {"deliveries": 2, "rows": 4, "bookings": 4}
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (2, 2)
    assert [e["outcome"] for e in entries(site, "deliver", "outcome")] == ["passed", "passed", "replayed", "replayed"]
    assert builders.read(site, "SELECT count(*) FROM sharing.delivered_rows") == [(4,)]


@pytest.fixture
def put_back(space: Workspace, site: Site, world: World) -> Workspace:
    """The tables of deliveries are those of before what is in the outboxes, and there is another booking."""
    share(space)
    builders.tamper(site, "DELETE FROM sharing.deliveries", "DELETE FROM sharing.delivered_rows")
    recipients.booking(site, world)
    through(builders.workspace(site), "bookings", KEY, "again")
    return space


def test_tables_that_were_put_back_and_another_booking_since_deliver_nothing_while_that_may_be_there(
    put_back: Workspace, folder: Path
) -> None:
    with pytest.raises(GovernanceError, match=r"1 deliveries that our tables do not know \([0-9a-f]{64}\)"):
        share(put_back)
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (2, 2)
    for delivery in folder.glob("*/*/"):
        shutil.rmtree(delivery)
    share(put_back)
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (3, 3)


def test_deliveries_that_retention_has_ended_are_known_by_the_log(put_back: Workspace, folder: Path) -> None:
    values = put_back.policy.open_values
    # As if the term of all that was ever delivered were over.
    ended = values["booking_days"].model_copy(update={"value": -1000})
    policy = put_back.policy.model_copy(update={"open_values": {**values, "booking_days": ended}})
    share(replace(put_back, policy=policy))
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (5, 5)


@pytest.mark.parametrize("act", ["rotated", "revoked"])
def test_a_certificate_that_is_changed_in_the_middle_counts_from_the_next_delivery(
    space: Workspace, site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setattr(reading_source, "AT_ONCE", 1)
    seal, kept = cms.seal, CertificateFolder(site.certificates_path)
    certificate, key = demo_certificates.made("clinic, later", NOW)

    def sealed(*arguments: object) -> object:
        done = seal(*arguments)  # type: ignore[arg-type]
        if kept.current(CLINIC).certificate.revoked_at is None and len(kept.kept(CLINIC)) == 1:  # type: ignore[union-attr]
            if act == "rotated":
                kept.rotate(CLINIC, certificate, NOW)
            else:
                kept.revoke(CLINIC, None, NOW, "lost")
        return done

    monkeypatch.setattr(cms, "seal", sealed)
    if act == "revoked":
        with pytest.raises(HaltedError, match="its certificate was revoked"):
            share(space)
        assert len(list((folder / CLINIC).glob("*/manifest.json"))) == 1
        assert rows_of(folder, AGENCY) == 2
        return
    share(space)
    by_key = []
    for pem in (b"".join(recipients.certified(CLINIC)), certificate + key):
        (folder / "key.pem").write_bytes(pem)
        by_key.append(sum(opens(part, folder / "key.pem") for part in (folder / CLINIC).glob("*/*.p7m")))
    assert by_key == [1, 1]


def opens(part: Path, key: Path) -> bool:
    command = ("-decrypt", "-binary", "-inform", "DER", "-in", str(part), "-inkey", str(key), "-recip", str(key))
    try:
        recipients.openssl(*command, "-out", "/dev/null")
    except Exception:  # noqa: BLE001 -- whatever openssl says: it is not for this key
        return False
    return True


def test_a_clock_that_is_a_day_off_delivers_nothing(space: Workspace, folder: Path) -> None:
    off = replace(space, database_clock=lambda: NOW - timedelta(days=1))
    with pytest.raises(ClockError):
        steps.share(off, KEY, builders.run("sharing"))
    off = replace(space, source_clock=lambda _: NOW - timedelta(days=1))
    with pytest.raises(ClockError):
        steps.share(off, KEY, builders.run("sharing"))
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (0, 0)
    assert share(space)["deliveries"] == 2


def test_of_two_runs_at_once_one_waits_and_says_so(space: Workspace, site: Site, folder: Path) -> None:
    with (
        warehouse.connect(site.dsn("pipeline"), "another run") as other,
        other.exclusive(Batch("provider_sharing", CLINIC, "")),
        pytest.raises(ContendedError),
    ):
        share(space)
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (0, 2)
    failed = [e for e in entries(site, "share", "outcome") if e["outcome"] == "failed"]
    assert [e["error"]["type"] for e in failed] == ["ContendedError"]
    assert share(space)["deliveries"] == 1


def test_a_source_that_is_away_delivers_nothing_and_the_next_run_all_of_it(space: Workspace, folder: Path) -> None:
    away = replace(space, source_uri=lambda: "postgresql://puller@127.0.0.1:1/wellbe")
    with pytest.raises(GovernanceError, match="source cannot be reached"):
        steps.share(away, KEY, builders.run("sharing"))
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (0, 0)
    assert share(space)["deliveries"] == 2


def test_an_openssl_that_is_killed_leaves_nothing_and_the_next_run_delivers(
    space: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "openssl"
    broken.write_text("#!/bin/sh\nkill -9 $$\n")
    broken.chmod(0o755)
    with monkeypatch.context() as patched, pytest.raises(SealingUnavailableError):
        patched.setattr(cms, "OPENSSL", str(broken))
        share(space)
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (0, 0)
    assert share(space)["deliveries"] == 2


@pytest.mark.clause("M1")
def test_a_backfill_over_a_day_from_which_somebody_was_erased_delivers_nobody_who_is_gone(
    space: Workspace, site: Site, folder: Path
) -> None:
    (gone, _) = builders.read(site, "SELECT client_id FROM wellbe.bookings ORDER BY 1", role="wellbe_owner")
    steps.destroy_key(space, "subject", f"client {gone[0]}", "request 7", builders.run())
    assert share(space) == {"excluded erased": 2, "deliveries": 2, "rows": 2, "bookings": 2}
    through(builders.workspace(site), "bookings", KEY, "again")
    assert "deliveries" not in share(space)
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (1, 1)


def test_what_was_delivered_is_told_when_somebody_is_erased(space: Workspace, site: Site, folder: Path) -> None:
    share(space)
    (gone, _) = builders.read(site, "SELECT client_id FROM wellbe.bookings ORDER BY 1", role="wellbe_owner")
    steps.destroy_key(space, "subject", f"client {gone[0]}", "request 7", builders.run())
    done = share(space, NOW + timedelta(hours=1))
    assert (done["notices"], done["revoked"], done["obligations"]) == (2, 2, 2)
    for name in (CLINIC, AGENCY):
        _, notice = got(folder, name)
        assert [(line["action"], line["reason_code"]) for line in notice.objects] == [("delete", "erased")]


def numbered(site: Site) -> list[tuple[int, ...]]:
    """The clients whom rows that were delivered name, and how many rows each."""
    query = (
        "SELECT client_id, count(*) FROM sharing.delivered_rows WHERE booking_id IS NOT NULL AND client_id IS NOT NULL "
        "GROUP BY 1 ORDER BY 1"
    )
    return builders.read(site, query)


def erase(space: Workspace, client: int) -> None:
    steps.destroy_key(space, "subject", f"client {client}", "request 7", builders.run())


@pytest.mark.clause("M1")
def test_numbers_of_the_erased_stay_until_the_recipient_has_acknowledged_and_then_keyed_references_alone(
    space: Workspace, site: Site, folder: Path
) -> None:
    share(space)
    ((gone, _), (stays, _)) = numbered(site)
    before = builders.read(site, "SELECT booking_reference, person_reference FROM sharing.delivered_rows ORDER BY 1, 2")
    erase(space, gone)
    hour = timedelta(hours=1)
    share(space, NOW + hour)  # tells both
    assert numbered(site) == [(gone, 2), (stays, 2)]
    assert [one["revoked_at"] is not None for one in steps.who_has(space, gone, "request 7", builders.run())] == [
        True
    ] * 2
    recipients.acknowledge(folder / CLINIC)
    assert share(space, NOW + 2 * hour)["forgotten"] == 1
    assert numbered(site) == [(gone, 1), (stays, 2)]
    recipients.acknowledge(folder / AGENCY)
    assert share(space, NOW + 3 * hour)["forgotten"] == 1
    assert numbered(site) == [(stays, 2)]
    assert "forgotten" not in share(space, NOW + 4 * hour)
    assert steps.who_has(space, gone, "request 7", builders.run()) == []
    # That, when and whom we told is still there to be shown, by references that nobody can guess.
    told = "SELECT d.recipient_id FROM sharing.obligations o JOIN sharing.deliveries d USING (delivery_id) " \
        "WHERE o.reason = 'erased' AND o.met_at IS NOT NULL ORDER BY 1"  # fmt: skip
    assert builders.read(site, told) == [(AGENCY,), (CLINIC,)]
    after = builders.read(site, "SELECT booking_reference, person_reference FROM sharing.delivered_rows ORDER BY 1, 2")
    assert after == before
    forgot = entries(site, "forget", "outcome")
    assert [(e["details"], e["counts"]) for e in forgot] == [
        ({"recipient": CLINIC}, {"rows": 1}), ({"recipient": AGENCY}, {"rows": 1}),
    ]  # fmt: skip
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (3, 3)  # and one line of notice each


@pytest.mark.clause("M1")
@pytest.mark.parametrize(
    ("read_after", "left"), [(timedelta(0), 0), (timedelta(milliseconds=999), 0), (timedelta(seconds=1), 2)], ids=str
)
def test_what_was_delivered_of_whoever_began_anew_after_an_erasure_is_left_alone(
    space: Workspace, site: Site, folder: Path, read_after: timedelta, left: int
) -> None:
    share(space)
    ((gone, _), _) = numbered(site)
    erase(space, gone)
    share(space)
    builders.tamper(site, f"UPDATE sharing.deliveries SET read_at = '{(NOW + read_after).isoformat()}'")
    for name in (CLINIC, AGENCY):
        recipients.acknowledge(folder / name)
    assert share(space).get("forgotten", 0) == 2 - left
    assert [count for client, count in numbered(site) if client == gone] == [left] * bool(left)


@pytest.mark.clause("M1")
def test_the_number_of_a_client_stays_where_somebody_else_of_the_booking_was_erased_and_the_rest_is_delivered_again(
    space: Workspace, site: Site, folder: Path
) -> None:
    share(space)
    ((client, _), _) = numbered(site)
    raised = "INSERT INTO sharing.obligations (delivery_id, booking_reference, reason) SELECT delivery_id, " \
        f"booking_reference, 'erased' FROM sharing.delivered_rows WHERE client_id = {client}"  # fmt: skip
    builders.tamper(site, raised)
    done = share(space)
    assert (done["notices"], done["revoked"], done.get("deliveries")) == (2, 2, None)
    for name in (CLINIC, AGENCY):
        recipients.acknowledge(folder / name)
    again = share(space)
    assert "forgotten" not in again
    assert (again["acknowledged"], again["deliveries"], again["rows"]) == (4, 2, 2)
    assert numbered(site)[0] == (client, 4)
    erase(space, client)
    assert share(space)["forgotten"] == 2  # of the first deliveries, which were said to be erased already
    for name in (CLINIC, AGENCY):
        recipients.acknowledge(folder / name)
    assert share(space)["forgotten"] == 2
    assert [one for one, _ in numbered(site) if one == client] == []


@pytest.mark.clause("M1")
def test_numbers_of_the_erased_go_also_where_a_person_told_whoever_is_in_the_register_no_more(
    space: Workspace, site: Site
) -> None:
    share(space)
    ((gone, _), (stays, _)) = numbered(site)
    erase(space, gone)
    nobody = replace(space, policy=space.policy.model_copy(update={"recipients": {}}))
    assert share(nobody) == {"obligations": 2}
    for one in steps.owed(nobody):
        steps.meet_obligation(nobody, one.delivery_id, "erased", "letter 7", builders.run())
    assert share(nobody) == {"forgotten": 2}
    assert numbered(site) == [(stays, 2)]
    assert share(nobody) == {}


def test_a_booking_that_lacks_what_the_contract_requires_stays_out_and_the_others_go(
    site: Site, world: World, folder: Path
) -> None:
    register = recipients.outboxes(site, folder)
    recipients.booking(site, world)
    recipients.booking(site, world, travellers=[{"family_name": " "}])
    through(builders.workspace(site), "bookings", KEY)
    done = share(recipients.sharing(site, register))
    assert done["excluded incomplete"] == 2
    assert (rows_of(folder, CLINIC), rows_of(folder, AGENCY)) == (1, 1)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("UPDATE wellbe.bookings SET status = 'no_show' WHERE booking_id = %s", "unfit"),
        ("UPDATE wellbe.bookings SET notes = repeat('x', 1048577) WHERE booking_id = %s", "unfit"),
        (
            "INSERT INTO wellbe.booking_travellers SELECT * FROM wellbe.booking_travellers WHERE booking_id = %s",
            "unfit",
        ),
        ("UPDATE wellbe.booking_travellers SET role = 'companion' WHERE booking_id = %s", "incomplete"),
    ],
)
def test_a_booking_that_cannot_be_written_as_agreed_stays_out_is_counted_and_keeps_no_other_back(
    space: Workspace, world: World, site: Site, folder: Path, what: str, reason: str
) -> None:
    (one, _) = builders.read(site, "SELECT booking_id FROM wellbe.bookings ORDER BY 1", role="wellbe_owner")
    world.execute(what, one[0])
    register = space.policy.all_recipients
    asking = {CLINIC: register[CLINIC].model_copy(update={"options": ("clinical_note",)})}
    space = replace(space, policy=space.policy.model_copy(update={"recipients": asking}))
    assert share(space) == {f"excluded {reason}": 1, "deliveries": 1, "rows": 1, "bookings": 1}
    assert rows_of(folder, CLINIC) == 1


@pytest.mark.clause("K4")
@pytest.mark.parametrize(("table", "column"), [("booking_services", "itinerary"), ("bookings", "notes")])
def test_a_card_number_that_was_written_after_the_validation_reaches_nobody(
    space: Workspace, world: World, folder: Path, table: str, column: str
) -> None:
    world.execute(f"UPDATE wellbe.{table} SET {column} = 'pay with 4242 4242 4242 4242'")
    assert share(space) == {"excluded card_in_text": 4}
    assert (got(folder, CLINIC), got(folder, AGENCY)) == ([], [])


def test_a_minor_without_a_guardians_consent_goes_nowhere_though_the_day_was_validated_before_it_was_withdrawn(
    site: Site, world: World, folder: Path
) -> None:
    register = recipients.outboxes(site, folder)
    recipients.booking(site, world, travellers=[{"birth_date": "2010-03-10"}], consents=[{}])
    through(builders.workspace(site), "bookings", KEY)
    world.execute("UPDATE wellbe.guardian_consents SET withdrawn_at = %s", NOW)
    assert share(recipients.sharing(site, register)) == {"excluded minor": 2}
    assert (got(folder, CLINIC), got(folder, AGENCY)) == ([], [])
