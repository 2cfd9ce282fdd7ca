"""What Airflow's scheduler makes of a partition that was updated, asked of its own code on its own tables: no Airflow
runs here. tests/integration/test_airflow_pipelines.py shows the same live."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from governance.embedded import airflow, airflow_config
from governance.embedded.site import Site

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("F1"), pytest.mark.clause("R1")]

SCRIPT = """
import json, sys
from airflow.assets.manager import AssetManager
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.asset import AssetModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select, update

def look(*keys):
    with create_session() as session:
        asset = session.scalar(select(AssetModel).where(AssetModel.name == "vault.bookings"))
        for key in keys:
            AssetManager.register_asset_change(asset=asset, session=session, partition_key=key)
    with create_session() as session:
        job = Job()
        session.add(job)
        session.flush()
        SchedulerJobRunner(job=job)._create_dagruns_for_partitioned_asset_dags(session)
    with create_session() as session:
        query = select(DagRun.dag_id, DagRun.partition_key, DagRun.run_type, DagRun.state)
        return [list(map(str, row)) for row in session.execute(query.order_by(DagRun.id))]

found = [look("2026-03-10", "2026-03-11"), look(), look("2026-03-10"), look("2026-03-12", "2026-03-12")]
json.dump(found, open(sys.argv[1], "w"))
"""


def test_each_partition_of_bookings_that_is_updated_starts_one_run_of_its_key(
    airflow_tables: Site, tmp_path: Path
) -> None:
    environment = airflow_config.environment(airflow_tables)
    for command in (airflow.command("dags", "reserialize"), [sys.executable, "-c", SCRIPT, str(tmp_path / "found")]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    first, nothing_new, again, twice_before_the_scheduler_looked = json.loads((tmp_path / "found").read_text())

    def keys(runs: list[list[str]]) -> list[str]:
        assert {(dag, kind, state) for dag, _, kind, state in runs} == {
            ("provider_sharing", "asset_triggered", "queued")
        }
        return [key for _, key, _, _ in runs]

    assert keys(first) == ["2026-03-10", "2026-03-11"]
    assert nothing_new == first
    assert keys(again) == [*keys(first), "2026-03-10"]  # as after a backfill, or a cleared task
    assert keys(twice_before_the_scheduler_looked) == [*keys(again), "2026-03-12"]
