"""A site of the first version, with data in it, is brought to the key store; nothing is lost, and the old keys go."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

import builders
import faults
from aftermath import entries, terms
from builders import World
from first_version import LANDED, TABLES, Earlier, in_format, without_tokens
from governance import stored_values
from governance.embedded import control
from governance.embedded.site import Site
from governance.encryption import EARLIER_FORMAT
from governance.errors import KeyringError
from governance.keyring import EARLIER_KEYS, KEY_ENCRYPTION, Keyring
from governance.run_log import Batch

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1"), pytest.mark.clause("K1")]


def test_a_site_of_the_first_version_keeps_its_values_and_loses_its_keys(site: Site, world: World) -> None:
    earlier = Earlier(site, world)
    told: list[str] = []
    control.clusters_up(site.data_dir, told.append)
    assert [line for line in told if "rows are under keys of the key store" in line]
    assert in_format(site, EARLIER_FORMAT) == 0
    ring = Keyring.load(site.keyring_path)
    assert ring.versions(KEY_ENCRYPTION).keys() == {1}
    assert not any(ring.versions(name) for name in EARLIER_KEYS)
    expected = {place: [without_tokens(row) for row in rows] for place, rows in earlier.before.items()}
    views = [name for name in LANDED["page_views"].columns if name.endswith("_token")]
    found = earlier.content()
    for place in found:
        for row, old in zip(found[place], expected[place], strict=True):
            if place[1] == "page_views":
                assert all(row.pop(name) == f"v1:{old.pop(name)}" for name in views if old[name])
    assert found == expected
    clients = builders.read(
        site,
        "SELECT client_id, client_token FROM vault.bookings UNION SELECT client_id, client_token FROM landing.bookings",
    )
    with closing(builders.key_service(site, datetime.now(UTC))) as service:
        assert dict(clients) == {client: service.id_of("subject", f"client {client}").hex() for client, _ in clients}
    written = [e for e in entries(site, "reencrypt", "outcome") if e["outcome"] == "passed"]
    assert {name for e in written for name in e["counts"]} == {
        f"{zone}.{table} {what}"
        for zone in ("landing", "vault")
        for table in TABLES
        for what in ("rows", "values_past_term")
    }
    # The pipelines go on as if nothing had been.
    batch = builders.steps.validate(
        earlier.space, Batch("bookings", earlier.second.isoformat(), "test"), builders.run()
    )
    builders.steps.publish(earlier.space, batch, builders.run())
    assert terms(site)[-1]["carried_out"] == 1  # one alone waits
    before = builders.read(site, "SELECT count(*) FROM audit.run_log WHERE dataset <> 'site'")
    control.clusters_up(site.data_dir)  # a second start finds nothing to do
    assert builders.read(site, "SELECT count(*) FROM audit.run_log WHERE dataset <> 'site'") == before


def test_a_card_past_its_term_is_not_brought_over(site: Site, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Earlier(site, world)
    builders.read(site, "UPDATE vault.payment_cards SET captured_at = captured_at - interval '20 days'")
    control.clusters_up(site.data_dir)
    cards = earlier.content()["vault", "payment_cards"]
    assert len(cards) == 10
    assert all(row["card_number_encrypted"] is row["card_holder_encrypted"] is None for row in cards)
    counts = [e["counts"] for e in entries(site, "reencrypt", "outcome")]
    assert sum(c.get("vault.payment_cards values_past_term", 0) for c in counts) == 30


@pytest.mark.parametrize("turn", (1, 4, 9))
def test_a_migration_that_is_killed_goes_on_at_the_next_start(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    earlier = Earlier(site, world)
    original, calls = stored_values._store, iter(range(1, 100))

    def kill(stop: faults.Stop) -> None:
        def wrapper(*arguments: Any) -> None:
            original(*arguments)
            if next(calls) == turn:
                stop()

        monkeypatch.setattr(stored_values, "_store", wrapper)

    faults.killed(lambda: control.clusters_up(site.data_dir), kill)
    assert Keyring.load(site.keyring_path).versions("at_rest")  # as long as they are needed
    assert in_format(site, EARLIER_FORMAT) > 0
    control.clusters_up(site.data_dir)
    assert in_format(site, EARLIER_FORMAT) == 0
    names = {row["client_family_name_encrypted"] for row in earlier.content()["vault", "bookings"]}
    assert names == {"Lindqvist"}


def test_values_that_the_old_keys_do_not_open_stop_the_start_and_keep_the_keys(site: Site, world: World) -> None:
    Earlier(site, world)
    builders.read(site, "UPDATE vault.bookings SET notes_encrypted = client_email_encrypted")
    with pytest.raises(KeyringError, match=r"bookings.notes_encrypted: 10 of 10 values cannot be decrypted"):
        control.clusters_up(site.data_dir)
    assert Keyring.load(site.keyring_path).versions("at_rest")
    assert entries(site, "reencrypt", "outcome")[-1]["outcome"] == "failed"


@pytest.mark.parametrize("lost", ("keyring", "store", "both"))
def test_a_lost_keyring_or_store_is_an_error_at_the_start_and_never_made_anew(
    site: Site, world: World, lost: str
) -> None:
    world.booking()
    builders.steps.pull(builders.workspace(site), "bookings", builders.DAY.isoformat(), builders.run())
    kept = {path: path.read_bytes() for path in (site.keyring_path, site.key_store_path)}
    for path in kept:
        if lost in ("both", "keyring" if path == site.keyring_path else "store"):
            path.unlink()
    left = sorted(path.name for path in kept if path.exists())
    with pytest.raises(KeyringError, match="there is no such file. Restore it"):
        control.clusters_up(site.data_dir)
    assert sorted(path.name for path in kept if path.exists()) == left
    for path, old in kept.items():
        path.write_bytes(old)
        path.chmod(0o600)
    control.clusters_up(site.data_dir)
