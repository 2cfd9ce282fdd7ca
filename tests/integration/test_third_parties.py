"""A published release, and nothing else, reaches a registered third party: once, whole, with its risk figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import builders
from aftermath import entries, outcomes, through
from builders import DAY, NOW, World
from governance import released, steps
from governance.embedded.site import Site
from governance.errors import (
    ContendedError,
    EndpointUnavailableError,
    GovernanceError,
    InputError,
    PartitionError,
    RecipientError,
)
from governance.policy import Policy
from governance.run_log import Batch
from governance.steps import HandOver, Workspace
from governance.third_parties import ThirdParty
from governance.warehouse import connect
from kept import beginning

pytestmark = [pytest.mark.pg, pytest.mark.clause("E2"), pytest.mark.clause("C6"), pytest.mark.clause("H1")]

KEY = DAY.isoformat()
ASKED = HandOver("institute", "bookings", KEY)


@pytest.fixture
def endpoint(tmp_path: Path) -> Path:
    """Where the institute gets what is handed over."""
    folder = tmp_path / "institute"
    folder.mkdir()
    return folder


def party(folder: Path, **changes: Any) -> ThirdParty:
    """A registered third party with an agreement for the year."""
    agreed = {
        "name": "Institute for Travel Research",
        "purpose": "market_research",
        "agreed_from": date(2026, 1, 1),
        "agreed_until": date(2026, 12, 31),
        "tables": ("bookings",),
        "endpoint": str(folder),
    }
    return ThirdParty(**{**agreed, **changes})


def agreed(site: Site, registered: ThirdParty | None, now: datetime = NOW) -> Workspace:
    """A workspace whose policy has one third party, or none."""
    space = builders.workspace(site, now=now)
    register = {"institute": registered} if registered else {}
    return replace(space, policy=space.policy.model_copy(update={"third_parties": register}))


@pytest.fixture(scope="module")
def begun(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[World], None]]:
    """One released day of bookings: thirty rows, of which ten are held; beside it a day that was only pulled."""

    def prepare(world: World) -> None:
        world.crowd(20)
        world.apart(10)
        world.visitors()
        space = builders.workspace(site)
        for dataset in ("bookings", "visits"):
            through(space, dataset, KEY)
        world.day += timedelta(days=1)
        world.crowd(20)
        steps.pull(space, "bookings", world.day.isoformat(), builders.run())

    with beginning(site, tmp_path_factory.mktemp("begun"), prepare) as again:
        yield again


@pytest.fixture
def published(begun: Callable[[World], None], site: Site, world: World) -> Site:
    """That day."""
    begun(world)
    return site


RISK_FIGURES = {
    "k": 20, "l": 2, "ncp": 0.0, "delay_median": 0.0, "delay_p95": 0.0,
    "attack_gained_less": 0, "attack_fewer_left": 0, "attack_disclosed": 0,
}  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hand_over(space: Workspace, asked: HandOver = ASKED) -> steps.Delivered:
    return steps.hand_over(space, asked, builders.run("third-party"))


def test_a_registered_third_party_gets_the_rows_that_analysts_read_with_their_risk_figures(
    published: Site, endpoint: Path
) -> None:
    delivered = hand_over(agreed(published, party(endpoint)))
    assert delivered.is_new
    assert sorted(content(endpoint)) == ["bookings-2026-03-10/bookings.csv", "bookings-2026-03-10/release.json"]
    rows = (endpoint / "bookings-2026-03-10" / "bookings.csv").read_bytes()
    columns = list(builders.POLICY.dataset("bookings").release.columns)
    head, *lines = rows.decode().splitlines()
    assert head.split(",") == columns
    seen = builders.read(published, f"SELECT {', '.join(columns)} FROM analytics.bookings", role="analyst")
    assert sorted(lines) == sorted(",".join(map(str, row)) for row in seen)
    assert len(lines) == 20

    told = json.loads((endpoint / "bookings-2026-03-10" / "release.json").read_bytes())
    figures = ("k", "l", "rows", "suppressed", "policy_digest")
    query = f"SELECT {', '.join(figures)} FROM analytics.releases WHERE dataset = 'bookings'"
    (known,) = builders.read(published, query, role="analyst")
    assert known[:4] == (20, 2, 20, 0)
    assert tuple(told["release"][name] for name in figures) == known
    assert told["measures"] == RISK_FIGURES  # and nothing of who came again
    assert told["settings"]["k"] == "10"
    assert (told["third_party"], told["purpose"]) == ("institute", "market_research")
    digest = hashlib.sha256(rows).hexdigest()
    assert told["files"] == {"bookings.csv": {"sha256": digest, "bytes": len(rows)}}
    assert told["release_sha256"] == digest
    (entry,) = [e for e in entries(published, "publish", "outcome") if e["dataset"] == "bookings"]
    assert (told["log_entry_id"], told["run_id"]) == (entry["entry_id"], entry["run"]["run_id"])


@pytest.mark.parametrize("table", ["bookings_events", "visits_search_to_booking"])
def test_counts_with_noise_go_with_what_they_cost_and_nothing_exact_beside_them(
    published: Site, endpoint: Path, table: str
) -> None:
    space = agreed(published, party(endpoint, tables=(table,)))
    delivered = hand_over(space, replace(ASKED, table=table))
    lines = (endpoint / delivered.folder / f"{table}.csv").read_text("utf-8").splitlines()
    ((rows,),) = builders.read(published, f"SELECT count(*) FROM analytics.{table}", role="analyst")
    assert len(lines) == 1 + rows > 5
    told = json.loads((endpoint / delivered.folder / "release.json").read_bytes())
    spent = f"SELECT epsilon, delta FROM analytics.privacy_budget WHERE table_name = '{table}'"
    assert [(told["measures"]["epsilon"], told["measures"]["delta"])] == builders.read(published, spent, role="analyst")
    assert set(told["measures"]) == {"epsilon", "delta"} == set(entries(published, "hand_over")[-1]["measures"])
    assert [told["release"][name] for name in ("k", "l", "rows", "suppressed")] == [None] * 4


def test_a_day_from_before_there_were_counts_of_events_has_none_to_hand_over(published: Site, endpoint: Path) -> None:
    builders.tamper(published, "DELETE FROM analytics.privacy_budget", "DELETE FROM analytics.bookings_events_rows")
    with pytest.raises(PartitionError, match="it is not released"):
        hand_over(
            agreed(published, party(endpoint, tables=("bookings_events",))), replace(ASKED, table="bookings_events")
        )
    assert content(endpoint) == {}


def test_an_entry_says_so_before_and_another_after_with_digests_and_figures(published: Site, endpoint: Path) -> None:
    delivered = hand_over(agreed(published, party(endpoint)))
    intent, outcome = entries(published, "hand_over")
    assert (intent["phase"], outcome["phase"], outcome["outcome"]) == ("intent", "outcome", "passed")
    assert intent["details"] == {"third_party": "institute", "table": "bookings"}
    assert outcome["details"] == {
        "third_party": "institute", "table": "bookings", "folder": "bookings-2026-03-10",
        "sidecar_sha256": delivered.sidecar_sha256,
    }  # fmt: skip
    assert outcome["measures"] == RISK_FIGURES
    assert outcome["clauses"] == ["C6", "E2", "H1"]
    sidecar = (endpoint / delivered.folder / "release.json").read_bytes()
    assert hashlib.sha256(sidecar).hexdigest() == delivered.sidecar_sha256
    assert builders.read(
        published, "SELECT third_party, table_name, partition_key FROM sharing.release_deliveries"
    ) == [("institute", "bookings", DAY)]


def test_a_release_that_was_delivered_is_not_delivered_again(published: Site, endpoint: Path) -> None:
    space = agreed(published, party(endpoint))
    first = hand_over(space)
    there = content(endpoint)
    again = hand_over(space)
    assert again == replace(first, is_new=False)
    assert content(endpoint) == there
    for path in (endpoint / first.folder).iterdir():  # the third party has taken it away
        path.unlink()
    (endpoint / first.folder).rmdir()
    assert hand_over(space) == again
    assert content(endpoint) == {}
    assert outcomes(published, "hand_over") == ["passed", "replayed", "replayed"]


def test_a_try_that_was_killed_before_it_could_tell_is_followed_by_the_same_bytes(
    published: Site, endpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = agreed(published, party(endpoint, form="parquet"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("governance.steps.handing_over._Delivery.note", _interrupted)
        hand_over(space)
    there = content(endpoint)
    assert len(there) == 2
    assert outcomes(published, "hand_over") == []
    later = replace(space, clock=lambda: NOW + timedelta(hours=3), database_clock=lambda: NOW + timedelta(hours=3))
    assert hand_over(later).is_new
    assert content(endpoint) == there
    assert outcomes(published, "hand_over") == ["passed"]


def test_a_try_that_was_killed_in_the_middle_leaves_no_delivery_and_is_finished_by_the_next(
    published: Site, endpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = agreed(published, party(endpoint))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("governance.released.sha256_of", _interrupted)
        hand_over(space)
    draft = endpoint / ".bookings-2026-03-10.draft"
    draft.mkdir()  # as a kill without a word leaves it
    (draft / "bookings.csv").write_text("half")
    assert [path for path in endpoint.iterdir() if not path.name.startswith(".")] == []
    assert hand_over(space).is_new
    assert sorted(path.name for path in endpoint.iterdir()) == ["bookings-2026-03-10"]


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_somebody_else_has_put_there_is_not_replaced(published: Site, endpoint: Path) -> None:
    (endpoint / "bookings-2026-03-10").mkdir()
    (endpoint / "bookings-2026-03-10" / "bookings.csv").write_text("another")
    before = content(endpoint)
    with pytest.raises(GovernanceError, match="holds something else; nothing was handed over"):
        hand_over(agreed(published, party(endpoint)))
    assert content(endpoint) == before
    assert builders.read(published, "SELECT count(*) FROM sharing.release_deliveries") == [(0,)]


LAST = date(2026, 3, 12)  # the day of NOW
REFUSED: dict[str, tuple[dict[str, Any] | None, HandOver, type[GovernanceError], str]] = {
    "a third party that is not registered": (None, ASKED, RecipientError, "is not registered"),
    "an agreement that ended the day before": (
        {"agreed_until": LAST - timedelta(days=1)}, ASKED, RecipientError, "ended with 2026-03-11"),
    "an agreement that begins the day after": (
        {"agreed_from": LAST + timedelta(days=1)}, ASKED, RecipientError, "begins on 2026-03-13"),
    "a table that the agreement is not about": (
        {}, replace(ASKED, table="visits_sessions"), RecipientError, "is about bookings"),
    "a day that is not released": (
        {}, replace(ASKED, partition="2026-03-11"), PartitionError, "it is not released"),
    "no day": ({}, replace(ASKED, partition=""), PartitionError, "no partition"),
    "a day that is none": ({}, replace(ASKED, partition="anna@example.com"), PartitionError, "must be YYYY-MM-DD"),
    "a table of a personal zone": ({}, replace(ASKED, table="vault.bookings"), InputError, "publishes no such table"),
    "the rows behind the view": ({}, replace(ASKED, table="bookings_rows"), InputError, "publishes no such table"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_nothing_leaves_for(what: str, published: Site, endpoint: Path) -> None:
    changes, asked, error, said = REFUSED[what]
    with pytest.raises(error, match=said):
        hand_over(agreed(published, None if changes is None else party(endpoint, **changes)), asked)
    assert content(endpoint) == {}
    intent, outcome = entries(published, "hand_over")
    assert (intent["phase"], outcome["outcome"], outcome["error"]["type"]) == ("intent", "failed", error.__name__)
    assert "anna" not in json.dumps([intent, outcome])
    assert builders.read(published, "SELECT count(*) FROM sharing.release_deliveries") == [(0,)]


def test_an_agreement_holds_on_its_first_and_its_last_day(published: Site, endpoint: Path) -> None:
    assert hand_over(agreed(published, party(endpoint, agreed_from=LAST, agreed_until=LAST))).is_new


@pytest.mark.parametrize(("minute", "holds"), [(59, True), (60, False)])
def test_an_agreement_ends_with_its_last_day_in_stockholm(
    published: Site, endpoint: Path, minute: int, holds: bool
) -> None:
    midnight = datetime.combine(LAST, datetime.min.time(), NOW.tzinfo) + timedelta(hours=22, minutes=minute)
    space = agreed(published, party(endpoint, agreed_until=LAST), now=midnight)
    if holds:
        assert hand_over(space).is_new
        return
    with pytest.raises(RecipientError, match="ended with"):
        hand_over(space)


def test_an_endpoint_that_is_away_is_tried_again(published: Site, endpoint: Path) -> None:
    space = agreed(published, party(endpoint))
    endpoint.rename(endpoint.with_name("away"))
    with pytest.raises(EndpointUnavailableError, match="nothing was handed over; mount it"):
        hand_over(space)
    endpoint.with_name("away").rename(endpoint)
    assert hand_over(space).is_new


def test_an_endpoint_that_cannot_be_written_is_tried_again(published: Site, endpoint: Path) -> None:
    (endpoint / ".bookings-2026-03-10.draft").write_text("in the way")
    with pytest.raises(EndpointUnavailableError, match="cannot be written"):
        hand_over(agreed(published, party(endpoint)))


def test_two_runs_at_once_take_turns(published: Site, endpoint: Path) -> None:
    space = agreed(published, party(endpoint))
    with (
        connect(published.dsn("forwarder"), "a test") as other,
        other.exclusive(Batch("hand_over", f"institute/bookings/{KEY}", "")),
        pytest.raises(ContendedError),
    ):
        hand_over(space)
    assert hand_over(space).is_new


def test_parquet_holds_the_same_rows_and_the_digest_of_the_release(published: Site, endpoint: Path) -> None:
    hand_over(agreed(published, party(endpoint, form="parquet")))
    folder = endpoint / "bookings-2026-03-10"
    assert sorted(path.name for path in folder.iterdir()) == ["bookings.parquet", "release.json"]
    table = pyarrow.parquet.read_table(folder / "bookings.parquet")
    columns = list(builders.POLICY.dataset("bookings").release.columns)
    seen = builders.read(published, f"SELECT {', '.join(columns)} FROM analytics.bookings", role="analyst")
    assert sorted(tuple(row.values()) for row in table.to_pylist()) == sorted(seen)
    told = json.loads((folder / "release.json").read_bytes())
    assert table.schema.metadata[b"release_sha256"].decode() == told["release_sha256"]
    assert told["files"]["bookings.parquet"]["sha256"] == released.sha256_of(folder / "bookings.parquet")


def test_the_role_that_hands_over_can_read_no_personal_zone(published: Site) -> None:
    found = builders.read(
        published,
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'v') AND n.nspname !~ '^(pg_|information)' "
        "AND has_any_column_privilege('forwarder', c.oid, 'SELECT') GROUP BY 1 ORDER BY 1",
    )
    assert found == [("analytics",), ("control",), ("sharing",)]


REGISTERED = {
    "an agreement that ends before it begins": ({"agreed_until": date(2025, 12, 31)}, "ends before it begins"),
    "an agreement about nothing": ({"tables": ()}, "is about no table"),
    "an endpoint that depends on where one stands": ({"endpoint": "out/institute"}, "is no absolute path"),
}


@pytest.mark.parametrize("what", REGISTERED)
def test_the_register_refuses(what: str, tmp_path: Path) -> None:
    changes, said = REGISTERED[what]
    with pytest.raises(ValueError, match=said):
        party(tmp_path, **changes)


def test_a_site_registers_its_own_and_none_that_policy_has(tmp_path: Path) -> None:
    document = builders.POLICY.model_dump(by_alias=True)
    document["site"]["third_parties"] = {"broker": party(tmp_path).model_dump()}
    assert list(Policy.model_validate(document).registered) == ["broker"]
    document["third_parties"] = {"broker": party(tmp_path).model_dump()}
    with pytest.raises(ValueError, match="third party broker is declared twice"):
        Policy.model_validate(document)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"purpose": "resale"}, "third party institute names 'resale', which is not declared"),
        ({"tables": ("bookings_rows",)}, "third party institute names 'bookings_rows', which is not declared"),
    ],
)
def test_the_register_names_what_policy_declares(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    document = builders.POLICY.model_dump(by_alias=True)
    document["third_parties"] = {"institute": party(tmp_path, **changes).model_dump()}
    with pytest.raises(ValueError, match=said):
        Policy.model_validate(document)
