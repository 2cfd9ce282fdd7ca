"""What is stored: no personal value in clear, in no zone, no file of the cluster and no entry of the log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import builders
from aftermath import content, through
from builders import DAY, World
from governance import steps
from governance.embedded.site import Site
from governance.steps import Workspace

pytestmark = [pytest.mark.pg, pytest.mark.clause("R1")]

KEY, NEXT = DAY.isoformat(), (DAY + timedelta(days=1)).isoformat()


@pytest.mark.clause("J1")
def test_quarantine_has_no_column_for_content(site: Site) -> None:
    columns = builders.read(
        site,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'quarantine'",
    )
    assert {(table, name) for table, name, _ in columns} == {
        *(
            ("findings", n)
            for n in [
                "dataset",
                "partition_key",
                "table_name",
                "row_id",
                "row_key",
                "root_key",
                "rule",
                "clause",
                "severity",
            ]
        ),
        *(("reviews", n) for n in ["dataset", "row_key", "since"]),
        *(
            ("erasures", n)
            for n in ["erasure_no", "booking_id", "travellers", "versions", "clients", "booked_at", "begun_at"]
        ),
        *(
            ("rows", n)
            for n in ["dataset", "partition_key", "row_id", "row_key", "rules", "clauses", "run_id", "quarantined_at"]
        ),
        *(("refusals", n) for n in ["dataset", "partition_key", "table_name", "row_key", "rule", "refused_at"]),
    }
    assert not [column for column in columns if column[2] == "bytea"]


SECRETS = {
    "given_name": "Zbigniewkanarek", "family_name": "Örnsköldsvikare", "email": "canary.mail.8841@example.com",
    "phone": "+46709990001", "skype": "live:.cid.canary8842", "postcode": "98765-C8843",
    "notes": "Prefers-canary-window-8844",
    "traveller": "Canarytravellerson", "itinerary": "Fly-canary-8845-to-Oslo", "procedure": "cardiology.canaryop8846",
    "guardian": "Guardiancanary Ek", "guardian_email": "guardian.canary.8847@example.com",
    "guardian_phone": "+46709990002",
    "card_number": "4000056655665556", "card_holder": "CANARY HOLDER 8848", "card_expiry": "11/39", "cvv": "cvv8849",
    "ip": "203.0.113.213", "user_agent": "CanaryBrowser/8850.1 (Sealed)", "device_id": "device-canary-8851",
    "session_id": "session-canary-8852", "settings": '{"theme":"canary8853"}', "query": "utm_canary=8854",
    "path": "/clinics/canary-8855",
    "referrer": "https://canary8856.example.com", "cookie": "cookie-canary-8857", "third": "third-canary-8858",
    "latitude": "59.334591", "longitude": "18.063240", "birth": "1971-09-23", "minor_birth": "2011-08-21",
}  # fmt: skip


def planted(world: World, **trouble: Any) -> None:
    """One booking and one view whose every direct field is a value that occurs nowhere else."""
    s = SECRETS
    world.booking(
        client={"given_name": s["given_name"], "family_name": s["family_name"], "email": s["email"],
                "phone": s["phone"], "skype": s["skype"], "postcode": s["postcode"], "birth_date": s["birth"]},
        travellers=[{"given_name": s["traveller"], "family_name": s["traveller"], "birth_date": s["minor_birth"]}],
        services=[{"procedure_code": s["procedure"]},
                  {"kind": "travel", "provider_id": 2, "procedure_code": None, "itinerary": s["itinerary"]}],
        consents=[{"guardian_name": s["guardian"], "guardian_email": s["guardian_email"],
                   "guardian_phone": s["guardian_phone"]}],
        card={"card_number": s["card_number"], "card_holder": s["card_holder"], "card_expiry": s["card_expiry"],
              "cvv": s["cvv"]},
        notes=s["notes"], **trouble,
    )  # fmt: skip
    world.view(ip=s["ip"], user_agent=s["user_agent"], device_id=s["device_id"], session_id=s["session_id"],
               device_settings=s["settings"], url=f"{s['path']}?{s['query']}", referrer=s["referrer"],
               first_party_cookie_id=s["cookie"], third_party_cookie_id=s["third"],
               latitude=float(s["latitude"]), longitude=float(s["longitude"]))  # fmt: skip


def stored(site: Site) -> str:
    """Every row of every table of our database as text, bytes as hexadecimal digits."""
    tables = builders.read(
        site,
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^pg_' "
        "AND schemaname <> 'information_schema'",
    )
    assert len(tables) > 15
    return "\n".join(str(builders.read(site, f"SELECT t::text FROM {name} t")) for (name,) in tables)


@pytest.mark.clause("J1")
@pytest.mark.clause("B1")
@pytest.mark.clause("B2")
@pytest.mark.parametrize("hops", ("pull", "validate", "quarantine", "publish"))
def test_no_personal_value_is_stored_in_clear(site: Site, world: World, space: Workspace, hops: str) -> None:
    planted(world, **({"price_amount_minor": -1} if hops == "quarantine" else {}))
    for dataset in ("bookings", "visits"):
        batch = steps.pull(space, dataset, KEY, builders.run())
        if hops != "pull":
            batch = steps.validate(space, batch, builders.run())
        if hops == "publish":
            steps.publish(space, batch, builders.run())
    text = stored(site)
    assert KEY in text
    for name, value in SECRETS.items():
        assert value not in text, name
        assert value.encode().hex() not in text, name
    # Also as a number near them: coordinates are coarsened on the way in.
    assert "59.33" not in text and "18.06" not in text
    if hops in ("pull", "validate"):
        zone = "landing" if hops == "pull" else "vault"
        grid = builders.read(site, f"SELECT latitude_grid_degrees, longitude_grid_degrees FROM {zone}.page_views")
        assert all(float(value) % 0.5 == 0.25 for value in grid[0])  # the centre of a cell of half a degree
        seen = content(site, zone, "bookings")[0] | content(site, zone, "page_views")[0]
        assert seen["client_email_encrypted"] == SECRETS["email"]
        assert seen["client_birth_date_encrypted"] == SECRETS["birth"]
        assert seen["path_encrypted"] == SECRETS["path"]  # without its query


@pytest.mark.clause("J1")
def test_no_personal_value_is_in_any_file_of_the_cluster(site: Site, world: World, space: Workspace) -> None:
    planted(world, locale="xx-Incontrol8860")  # stored in clear, so that the search is seen to find
    for dataset in ("bookings", "visits"):
        through(space, dataset, KEY)
    builders.read(site, "CHECKPOINT", role="postgres")
    wanted = {name: value.encode() for name, value in SECRETS.items()}
    found = seen = 0
    for path in sorted((site.data_dir / "warehouse").rglob("*")):
        if path.is_file() and path.stat().st_size:
            data = path.read_bytes()
            seen += len(data)
            found += b"xx-Incontrol8860" in data
            assert [name for name, value in wanted.items() if value in data] == [], path
    assert found >= 2  # a table's file and the write-ahead log
    assert seen > 10_000_000
    for log in (site.data_dir / "log").glob("*.log"):
        assert [name for name, value in wanted.items() if value in log.read_bytes()] == [], log


@pytest.mark.clause("J1")
def test_no_personal_value_is_in_any_entry_of_the_log(site: Site, world: World, space: Workspace) -> None:
    planted(world)
    planted(world, price_amount_minor=-1, client_id=99, with_client=False)
    for dataset in ("bookings", "visits"):
        through(space, dataset, KEY)
    text = "\n".join(entry for (entry,) in builders.read(site, "SELECT entry FROM audit.run_log"))
    assert [name for name, value in SECRETS.items() if value in text] == []
