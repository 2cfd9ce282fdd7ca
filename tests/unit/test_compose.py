"""docker-compose.yaml: valid, closed to the network, and without a secret in it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = sorted(name for name in SERVICES if name.startswith("airflow-"))

SECRET_NAME = re.compile(r"PASSWORD|SECRET(?!S__)|TOKEN|FERNET|_KEY|_CONN|BROKER_URL|RESULT_BACKEND|DSN")
DEFAULT = re.compile(r"\$\{(\w+):?-")


def publishes(port: str | dict[str, Any]) -> str:
    """The address of this machine on which a port is published; empty for every address."""
    if isinstance(port, dict):
        return str(port.get("host_ip", ""))
    return port.split(":", 1)[0] if port.count(":") >= 2 else ""


@pytest.fixture
def schema() -> dict[str, Any]:
    folder = os.environ.get("GOVERNANCE_REFERENCE_DATA")
    if not folder:
        pytest.skip("GOVERNANCE_REFERENCE_DATA is not set; the Compose specification's schema is there")
    loaded: dict[str, Any] = json.loads((Path(folder) / "reference" / "compose-spec.json").read_text())
    return loaded


def test_the_file_is_valid_against_the_compose_specification(schema: dict[str, Any]) -> None:
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(COMPOSE))
    assert [f"{list(error.path)}: {error.message}" for error in errors] == []


def test_the_schema_would_notice_a_mistake(schema: dict[str, Any]) -> None:
    broken = {**COMPOSE, "services": {"redis": {"image": "redis", "port": ["1:1"]}}}
    assert not jsonschema.Draft7Validator(schema).is_valid(broken)


def test_every_service_that_an_installation_needs_is_there_and_the_source_is_not() -> None:
    parts = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
    assert set(SERVICES) == {"postgres", "redis", *(f"airflow-{part}" for part in parts)}


@pytest.mark.clause("J1")
def test_every_published_port_is_bound_to_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"postgres", "airflow-api-server"}
    assert {publishes(port) for ports in published.values() for port in ports} == {"127.0.0.1"}
    assert not any(service.get("network_mode") for service in SERVICES.values())


@pytest.mark.parametrize(
    ("port", "address"),
    [
        ("127.0.0.1:80:80", "127.0.0.1"),
        ("80:80", ""),
        ("80", ""),
        ("0.0.0.0:80:80", "0.0.0.0"),
        ({"target": 80, "published": "80"}, ""),
        ({"target": 80, "host_ip": "127.0.0.1"}, "127.0.0.1"),
    ],
)
def test_the_address_of_a_port_is_read_in_every_notation(port: str | dict[str, Any], address: str) -> None:
    assert publishes(port) == address


@pytest.mark.clause("J1")
def test_no_variable_with_a_secret_holds_it_or_has_a_default() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET_NAME.search(variable):
                assert variable.endswith(("_FILE", "_CMD")), f"{name}: {variable} is not read from a file"
                assert "/run/secrets/" in value or value.startswith("/opt/airflow/site/"), f"{name}: {variable}"
    assert [name for name in DEFAULT.findall(TEXT) if not name.endswith("_PORT")] == []


@pytest.mark.clause("J1")
def test_no_secret_stands_in_the_file() -> None:
    for secret in COMPOSE["secrets"].values():
        assert set(secret) == {"file"}
        assert secret["file"].startswith("${GOVERNANCE_FOLDER:?")
    for found in re.findall(r"://[^\s/@:]*:([^\s@]+)@", TEXT):
        assert found in {"%s", "{password}"}, "an address with a password"
    for found in re.findall(r"PASSWORD\s+(\S+)", TEXT):
        assert found.startswith(":'"), "a password in SQL"
    assert re.findall(r"\b[0-9a-fA-F]{24,}\b|[A-Za-z0-9+/_-]{40,}={0,2}(?![\w/.])", without_paths(TEXT)) == []


def without_paths(text: str) -> str:
    return re.sub(r"AIRFLOW__\w+|[\w.-]*(?:/[\w.-]+)+", "", text)


@pytest.mark.clause("J2")
def test_keys_and_connections_are_given_to_the_workers_alone() -> None:
    for secret in ("keyring.json", "connections.json"):
        assert [name for name, service in SERVICES.items() if secret in service.get("secrets", [])] == [
            "airflow-worker"
        ]
    owners = [name for name, service in SERVICES.items() if "governance_owner_password" in service.get("secrets", [])]
    assert owners == ["postgres", "airflow-init"]


def test_every_secret_is_declared_and_used() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    read = set(re.findall(r"/run/secrets/([a-z_]+(?:\.json)?)", TEXT))
    assert read == used


def test_every_service_says_whether_it_is_healthy_except_the_one_that_ends() -> None:
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["airflow-init"]
    assert SERVICES["airflow-init"]["restart"] == "no"


def test_airflow_waits_for_its_databases_and_for_the_migration() -> None:
    for name in AIRFLOW:
        awaited = SERVICES[name]["depends_on"]
        assert awaited["postgres"] == {"condition": "service_healthy"}
        if name != "airflow-init":
            assert awaited["airflow-init"] == {"condition": "service_completed_successfully"}


def test_all_of_airflow_runs_one_image_with_the_celery_executor() -> None:
    assert {SERVICES[name]["environment"]["AIRFLOW__CORE__EXECUTOR"] for name in AIRFLOW} == {"CeleryExecutor"}
    assert len({SERVICES[name]["image"] for name in AIRFLOW}) == 1


def test_the_image_has_the_airflow_that_requirements_pin_and_no_image_floats() -> None:
    [pinned] = re.findall(r"^apache-airflow==([\d.]+)$", (CHECKOUT / "requirements.txt").read_text(), re.M)
    dockerfile = SERVICES["airflow-worker"]["build"]["dockerfile_inline"]
    assert f"FROM apache/airflow:{pinned}-python3.12" in dockerfile
    assert SERVICES["airflow-worker"]["image"].endswith(f":{pinned}")
    assert SERVICES["postgres"]["image"].startswith("postgres:18")
    assert all(re.search(r":\d", service["image"]) for service in SERVICES.values())


def test_what_the_image_copies_exists_and_is_let_through_to_the_builder() -> None:
    dockerfile = SERVICES["airflow-worker"]["build"]["dockerfile_inline"]
    copied = re.findall(r"^COPY (?:--\S+ )?(\S+)", dockerfile, re.M)
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for path in copied:
        assert (CHECKOUT / path).exists()
        assert f"!{path}" in ignored
