"""Airflow on the embedded site, live: reachable only from here and only with a login, gone after a crash."""

from __future__ import annotations

import http.client
import json
import signal
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from governance.embedded import airflow, control, postgres, processes
from governance.embedded.postgres import Cluster
from governance.embedded.site import Site
from governance.errors import PolicyUnreadableError

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow]


def call(site: Site, method: str, path: str, body: dict[str, str] | None = None) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", site.api_port, timeout=30)) as connection:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse().status


def test_every_part_runs_and_is_healthy(live: Site) -> None:
    airflow.wait_healthy(live, lambda _: None)  # again: right after `up` the API server warms up and answers late
    assert airflow.health(live) == set(airflow.COMPONENTS)
    parts = control.status(live)
    assert [part.name for part in parts] == ["postgres source", "postgres warehouse", *airflow.COMPONENTS]
    assert all(part.is_running and part.memory.pss_bytes > 1_000_000 for part in parts)


def test_nothing_of_a_whole_site_listens_beyond_this_machine(live: Site) -> None:
    listening = set()
    for process in processes.of_site(live.data_dir):
        with suppress(psutil.NoSuchProcess):  # tasks come and go
            connections = process.net_connections(kind="inet")
            listening |= {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", port) for port in (live.source_port, live.warehouse_port, live.api_port)}


def test_heavy_libraries_are_in_the_scheduler_which_forks_tasks_and_in_no_other_component(live: Site) -> None:
    """Otherwise a validation takes ten seconds more; who only watches would hold them for nothing."""
    holders = {
        name
        for name, leader in airflow.running(live).items()
        if "pyarrow" in Path(f"/proc/{leader.pid}/maps").read_text()
    }
    assert holders == {"scheduler"}


def test_the_api_answers_nobody_without_the_login(live: Site) -> None:
    login = {"username": "admin", "password": live.ui_password}
    assert call(live, "GET", "/api/v2/dags") == 401
    assert call(live, "POST", "/auth/token", {**login, "password": "wrong"}) == 401
    assert call(live, "POST", "/auth/token", login) == 201


def test_a_whole_site_at_rest_uses_less_than_a_gigabyte_and_a_half(live: Site) -> None:
    assert 100_000_000 < control.total_memory(live).pss_bytes < 1_500_000_000


def test_up_replaces_a_component_that_was_killed_and_what_it_left_behind(live: Site) -> None:
    scheduler = airflow.running(live)["scheduler"]
    workers = [process for process in processes.session_of(scheduler) if process != scheduler]
    others = {name: process.pid for name, process in airflow.running(live).items() if name != "scheduler"}
    assert workers
    scheduler.send_signal(signal.SIGKILL)
    processes.wait_gone([scheduler], 5)
    assert "scheduler" not in airflow.running(live)
    control.up(live.data_dir)
    running = {name: process.pid for name, process in airflow.running(live).items()}
    assert running.pop("scheduler") != scheduler.pid
    assert running == others
    assert not [process for process in workers if processes.is_alive(process)]


def test_down_leaves_no_process_after_everything_that_leads_was_killed(live: Site) -> None:
    leaders = list(airflow.running(live).values())
    leaders += [server for name in control.CLUSTERS if (server := postgres.postmaster(Cluster(live, name)))]
    assert len(leaders) == 6
    for leader in leaders:
        leader.send_signal(signal.SIGKILL)
    processes.wait_gone(leaders, 5)
    assert processes.of_site(live.data_dir)  # the workers of the scheduler, at least
    control.down(live.data_dir)
    assert not processes.of_site(live.data_dir)


def test_a_policy_file_that_is_being_saved_is_read_again_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from governance import connections

    site = tmp_path / "policy.yaml"
    site.write_text("first_partition: {visits: 2026-")
    monkeypatch.setattr(connections, "_extra", lambda *_: str(site))
    context = {"ti": SimpleNamespace(dag_id="visits"), "partition_key": "2026-03-10"}
    monkeypatch.setattr(connections, "get_current_context", lambda: context)
    says = r"dataset visits, partition 2026-03-10: policy\.yaml is not sound YAML .*the task retries"
    with pytest.raises(PolicyUnreadableError, match=says):
        connections.workspace()
    site.write_text("first_partition: {visits: 2026-03-10}")
    assert connections.workspace().policy.site.first_partition
