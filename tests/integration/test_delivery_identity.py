"""The identity that signs deliveries, on a site: made once, kept, backed up, replaced on the record (clause F1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import builders
from governance import steps
from governance.__main__ import main
from governance.embedded import workspaces
from governance.embedded.site import Site
from governance.errors import ContendedError, IdentityError
from governance.run_log import Batch
from governance.sharing import cms
from governance.sharing.identities import Identities, identity_page
from governance.steps import Workspace
from governance.warehouse import connect

pytestmark = [pytest.mark.pg, pytest.mark.clause("F1"), pytest.mark.usefixtures("world")]

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def made(here: Site, space: Workspace) -> Iterator[Identities]:
    """A site that has just made its identity."""
    here.identity_path.unlink(missing_ok=True)
    yield first(space, here)
    Identities.ensure(here.identity_path, space.clock())  # for whoever brings this site up after us


def first(space: Workspace, site: Site) -> Identities:
    return steps.first_identity(space, site.identity_path, workspaces.by_hand("up"))


def announced(site: Site) -> list[tuple[str, str]]:
    """(event, fingerprint) of what the run log says of identities, oldest first."""
    query = "SELECT entry FROM audit.run_log WHERE dataset = 'deliveries' ORDER BY written_at"
    entries: list[dict[str, Any]] = [json.loads(entry) for (entry,) in builders.read(site, query)]
    assert all(entry["clauses"] == ["F1"] and entry["outcome"] == "passed" for entry in entries)
    return [(entry["event"], entry["details"]["certificate_sha256"]) for entry in entries]


def test_a_site_makes_one_identity_and_keeps_it(here: Site, space: Workspace, made: Identities) -> None:
    assert first(space, here) == made
    assert here.identity_path.stat().st_mode & 0o777 == 0o600
    assert announced(here) == [("create_identity", made.current.fingerprint)]


def test_identities_last_as_long_as_policy_says(here: Site, space: Workspace) -> None:
    here.identity_path.unlink(missing_ok=True)
    sharing = space.policy.sharing.model_copy(update={"identity_days": 400})
    space = replace(space, policy=space.policy.model_copy(update={"sharing": sharing}))
    made = first(space, here)
    renewed = steps.renew_identity(space, here.identity_path, workspaces.by_hand("deliveries renew"))
    for one in (made.current, renewed.coming):
        assert one is not None
        assert one.x509.not_valid_after_utc - one.x509.not_valid_before_utc == timedelta(days=400)
    here.identity_path.unlink()
    Identities.ensure(here.identity_path, space.clock())


def test_an_identity_that_was_saved_and_not_announced_is_announced(here: Site, space: Workspace) -> None:
    kept = Identities.ensure(here.identity_path, space.clock())
    assert first(space, here) == kept
    assert announced(here) == [("create_identity", kept.current.fingerprint)]


def test_a_lost_identity_is_never_made_anew(here: Site, space: Workspace, made: Identities) -> None:
    here.identity_path.unlink()
    with pytest.raises(IdentityError, match="is gone: restore the file; recipients refuse what a new one signs"):
        first(space, here)
    assert not here.identity_path.exists()


def test_the_next_identity_is_announced_pinned_and_then_signs(here: Site, made: Identities, capsys: Capture) -> None:
    assert main(["deliveries", "renew"]) == 0
    renewed = Identities.load(here.identity_path)
    assert renewed.coming is not None
    assert capsys.readouterr().out.startswith(identity_page(renewed))
    assert main(["deliveries", "renew"]) == 1
    assert "waits already" in capsys.readouterr().err
    assert main(["deliveries", "switch"]) == 0
    switched = Identities.load(here.identity_path)
    assert switched == Identities(renewed.coming, None, (made.current.certificate,), here.identity_path)
    coming = renewed.coming.fingerprint
    assert announced(here) == [
        ("create_identity", made.current.fingerprint), ("renew_identity", coming), ("switch_identity", coming)
    ]  # fmt: skip
    assert main(["deliveries", "switch"]) == 1
    assert "no identity waits to take over" in capsys.readouterr().err
    cms.verify(b"{}", cms.sign(b"{}", made.current), switched.certificate_of(made.current.fingerprint))


def test_two_people_do_not_change_it_at_once(here: Site, space: Workspace, made: Identities) -> None:
    batch = Batch("deliveries", "identity", "another")
    with connect(here.dsn("sequencer"), batch.label) as connection, connection.exclusive(batch):
        for change in (steps.renew_identity, steps.switch_identity):
            with pytest.raises(ContendedError):
                change(space, here.identity_path, workspaces.by_hand("another"))
    assert Identities.load(here.identity_path) == made


def test_the_certificate_is_shown_for_a_recipient_to_pin(here: Site, made: Identities, capsys: Capture) -> None:
    assert main(["deliveries", "identity"]) == 0
    assert capsys.readouterr().out == identity_page(made)
    assert main(["deliveries", "identity", "--pem"]) == 0
    assert capsys.readouterr().out == made.current.certificate
