"""The DAG `third_party_release` under a live scheduler: a person triggers it, and a released day is at the endpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftermath import through
from governance.commands.reading import rows
from governance.embedded import workspaces
from governance.embedded.site import Site
from live_runs import attempts, call, ended, until

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("E2"), pytest.mark.clause("C6")]

DAG = "third_party_release"


@pytest.fixture(scope="module")
def endpoint(live: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a third party that this site has registered gets what is handed over."""
    folder = tmp_path_factory.mktemp("institute")
    before = live.policy_path.read_text("utf-8")
    institute = {
        "name": "Institute for Travel Research", "purpose": "market_research", "tables": ["bookings"],
        "agreed_from": "2026-01-01", "agreed_until": "2099-12-31", "endpoint": str(folder),
    }  # fmt: skip
    document = yaml.safe_load(before) | {"third_parties": {"institute": institute}}
    live.policy_path.write_text(yaml.safe_dump(document), "utf-8")
    known = f"SELECT dag_id FROM serialized_dag WHERE dag_id = '{DAG}'"
    until(lambda: rows(live.dsn("airflow"), known), 180)
    yield folder
    live.policy_path.write_text(before, "utf-8")


def asked(site: Site, run_id: str, **parameters: str) -> str:
    """Trigger a run with parameters, as the UI does; how it ended."""
    body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": parameters}
    call(site, "POST", f"/api/v2/dags/{DAG}/dagRuns", body)
    until(ended(site, run_id), 240)
    ((state,),) = rows(site.dsn("airflow"), "SELECT state FROM dag_run WHERE run_id = %s", (run_id,))
    return str(state)


def test_a_released_day_is_handed_over_once_and_nobody_else_gets_anything(live: Site, endpoint: Path) -> None:
    released = "SELECT partition_key::text FROM analytics.releases WHERE dataset = 'bookings' ORDER BY 1 LIMIT 1"
    if not rows(live.dsn("analyst"), released):  # no test before this one has published anything here
        space = workspaces.workspace(live)
        through(space, "bookings", space.policy.first_partition("bookings").isoformat())
    ((day,),) = rows(live.dsn("analyst"), released)
    parameters = {"third_party": "institute", "table": "bookings", "partition": day}
    assert asked(live, "hand-over", **parameters) == "success"
    folder = endpoint / f"bookings-{day}"
    told = json.loads((folder / "release.json").read_bytes())
    digest = hashlib.sha256((folder / "bookings.csv").read_bytes()).hexdigest()
    assert told["files"]["bookings.csv"]["sha256"] == digest
    assert asked(live, "hand-over-again", **parameters) == "success"
    assert asked(live, "hand-over-to-others", **{**parameters, "third_party": "broker"}) == "failed"
    assert [path.name for path in endpoint.iterdir()] == [folder.name]
    found = {t.run["run_id"]: t for t in attempts(live) if t.event == "hand_over"}
    assert {run_id: tried.outcome for run_id, tried in found.items()} == {
        "hand-over": "passed", "hand-over-again": "replayed", "hand-over-to-others": "failed",
    }  # fmt: skip
    assert found["hand-over"].run["triggered_by"]
    assert found["hand-over-to-others"].entry["error"]["type"] == "RecipientError"
    tries = "SELECT max(try_number) FROM task_instance WHERE run_id = 'hand-over-to-others'"
    assert rows(live.dsn("airflow"), tries) == [(1,)]  # a refusal is not tried again
