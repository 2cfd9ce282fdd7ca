"""docker-compose.yaml runs Airflow as a site with CeleryExecutor does, which tests/integration/test_celery.py starts.

Every difference stands here, with its reason.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from governance.embedded import airflow, airflow_config, broker
from governance.embedded import site as sites
from governance.embedded.site import CHECKOUT, Site
from governance.preloading import HEAVY

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((CHECKOUT / "docker-compose.yaml").read_text())["services"]
AIRFLOW = {name.removeprefix("airflow-"): service for name, service in SERVICES.items() if name.startswith("airflow-")}

ONLY_NATIVE_FLAGS = {
    "--celery-hostname": "both workers have one host name there; in containers each has its own",
}
ONLY_NATIVE = {
    "core.dags_folder": "the image has its own, below /opt/airflow",
    "core.plugins_folder": "the image has its own, below /opt/airflow",
    "logging.base_log_folder": "the image has its own, below /opt/airflow",
    "api.port": "a port of the container that is always free, 8080",
    "api.base_url": "the address is that of whoever opens the UI",
    "scheduler.scheduler_idle_sleep_time": "a day's few tasks need not start within a fifth of a second",
    "dag_processor.refresh_interval": "for those who write DAGs; in the image none changes",
    "dag_processor.min_file_process_interval": "for those who write DAGs; in the image none changes",
    "dag_processor.parsing_processes": "the default is for machines with more than two processors",
}
ONE_PART_ONLY = {
    "secrets.backend": ("worker", "connections are given to the workers alone"),
    "secrets.backend_kwargs": ("worker", "connections are given to the workers alone"),
    "api.host": ("api-server", "nobody else listens"),
}
OTHER_VALUES = {
    "core.execution_api_server_url": "another host",
    "core.fernet_key": "from a file",
    "core.simple_auth_manager_passwords_file": "another folder",
    "core.parallelism": "four tasks to each worker instead of two",
    "celery.worker_concurrency": "four tasks to each worker instead of two",
    "database.sql_alchemy_conn": "another host; the password from a file",
    "celery.broker_url": "another host; the password from a file",
    "celery.result_backend": "another host; the password from a file",
    "api.host": "every address of the container, of which one port is published on one address",
    "api.secret_key": "from a file",
    "api_auth.jwt_secret": "from a file",
    "secrets.backend_kwargs": "another folder",
    "scheduler.enable_health_check": "the container's health check asks there; the site asks the API",
    "scheduler.task_instance_heartbeat_timeout": "longer than a restart of the API server; a test waits for the site's",
    "scheduler.task_queued_timeout": "longer than a restart of all workers, which may first finish their tasks",
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with CeleryExecutor; nothing runs."""
    return dataclasses.replace(sites.load_or_create(tmp_path), executor="celery")


def in_compose(part: str) -> dict[str, str]:
    """What a part is told about Airflow: section.key -> value, or the command that prints it."""
    variables = {name: value for name, value in AIRFLOW[part]["environment"].items() if name.startswith("AIRFLOW__")}
    names = {name: name.removeprefix("AIRFLOW__").removesuffix("_CMD").lower() for name in variables}
    return {".".join(names[name].split("__")): value for name, value in variables.items()}


def natively(site: Site) -> dict[str, str]:
    """The same, of the site."""
    return {
        f"{section}.{key}": value for section, of in airflow_config.settings(site).items() for key, value in of.items()
    }


def test_every_part_runs_by_the_same_command(site: Site) -> None:
    commands = {re.sub(r"-\d$", "", name): list(command) for name, command in airflow.components(site).items()}
    assert set(commands) == set(AIRFLOW) - {"init"}  # its work is that of `governance up`
    for part, command in commands.items():
        for flag in ONLY_NATIVE_FLAGS:
            if flag in command:
                del command[command.index(flag) : command.index(flag) + 2]
        assert AIRFLOW[part]["command"].split() == command
    used = {word for command in airflow.components(site).values() for word in command}
    assert set(ONLY_NATIVE_FLAGS) <= used


def test_as_many_workers_take_as_many_tasks_as_the_scheduler_gives_out(site: Site) -> None:
    told = in_compose("worker")
    assert AIRFLOW["worker"]["deploy"]["replicas"] == len(airflow.WORKERS)
    for settings in (told, natively(site)):
        assert int(settings["core.parallelism"]) == len(airflow.WORKERS) * int(settings["celery.worker_concurrency"])


@pytest.mark.parametrize("part", sorted(set(AIRFLOW) - {"init"}))
def test_every_part_has_the_same_settings(site: Site, part: str) -> None:
    native, told = natively(site), in_compose(part)
    elsewhere = {key for key, (only, _) in ONE_PART_ONLY.items() if only != part}
    assert set(native) - set(told) == set(ONLY_NATIVE) | elsewhere
    assert set(told) <= set(native)
    different = {key for key, value in told.items() if json_or_text(value) != json_or_text(native[key])}
    assert different == set(OTHER_VALUES) & set(told)


def json_or_text(value: str) -> object:
    """What a setting says, however it is laid out."""
    return json.loads(value) if value.startswith("{") else value


def test_every_difference_is_one_and_has_a_reason(site: Site) -> None:
    known = set(natively(site))
    assert set(ONLY_NATIVE) | set(ONE_PART_ONLY) | set(OTHER_VALUES) <= known
    assert not set(ONLY_NATIVE) & set(OTHER_VALUES)
    assert all([*ONLY_NATIVE_FLAGS.values(), *ONLY_NATIVE.values(), *OTHER_VALUES.values()])


@pytest.mark.parametrize("key", ["database.sql_alchemy_conn", "celery.broker_url", "celery.result_backend"])
def test_addresses_differ_in_host_and_password_alone(site: Site, key: str) -> None:
    [pattern] = re.findall(r"printf (\S+)", in_compose("worker")[key])
    native = re.sub(r":[0-9a-f]{48}@", ":%s@", natively(site)[key])
    assert re.sub(r"@[\w.]+(:\d+)?/", "@/", pattern) == re.sub(r"@[\w.]+:\d+/", "@/", native)


def test_workers_import_before_they_fork_what_the_scheduler_otherwise_does(site: Site) -> None:
    assert json.loads(natively(site)["celery.extra_celery_config"]) == {"imports": list(HEAVY)}


@pytest.mark.airflow
def test_a_message_is_given_out_again_only_when_its_task_cannot_run_any_more(site: Site) -> None:
    from governance.orchestration import DEFAULT_ARGS

    longest = DEFAULT_ARGS["execution_timeout"].total_seconds()
    assert int(natively(site)["celery_broker_transport_options.visibility_timeout"]) > longest


@pytest.mark.clause("J1")
def test_the_broker_keeps_nothing_and_asks_for_a_password_in_both(site: Site) -> None:
    [printed] = re.findall(r"printf '([^']*)'", SERVICES["redis"]["command"][2])
    told = {line.partition(" ")[0]: line for line in printed.replace("%s", site.redis_password).split("\\n") if line}
    native = {line.partition(" ")[0]: line for line in broker.configuration(site).splitlines() if line[:1] != "#"}
    assert set(told) == {"requirepass", "save", "appendonly"}
    # The others say where and how it runs on this machine.
    assert {name: native[name] for name in told} == told
    assert set(native) - set(told) == {"bind", "port", "dir", "daemonize", "set-proc-title"}
