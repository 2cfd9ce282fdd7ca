"""What the tests share: the embedded clusters, once per session, and a home for Airflow that is not the developer's."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest

from governance.embedded import airflow, airflow_config, control, postgres
from governance.embedded.site import Site

pytest_plugins = ["proofs", "go_verifier", "configured_once"]

# Before anything imports Airflow, which otherwise makes itself a home in the user's. A test that starts a whole site
# sets its own.
for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "PG", "GOVERNANCE_SITE"))]:
    del os.environ[_name]
_airflow_home = tempfile.TemporaryDirectory(prefix="governance-airflow-")
os.environ["AIRFLOW_HOME"] = _airflow_home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] = "False"
os.environ["SCARF_ANALYTICS"] = "false"

# Clusters of tests live for minutes, on a machine that does not lose power, and their passwords are random, which need
# no stretching: with both, a connection costs twice as much, and tests open a hundred thousand. Who is killed loses
# nothing by it, Postgres included: what was written is with the kernel.
_IN_HASTE = ("--set=scram_iterations=1", "--set=fsync=off", "--no-sync")
_initdb = postgres._run
postgres._run = lambda name, arguments: _initdb(name, [*arguments, *_IN_HASTE])


def _end_in_order(number: int, _: object) -> None:
    """Let the fixtures stop their servers when a run is ended from outside, and not only at Ctrl-C."""
    pytest.exit(f"ended by signal {number}")


signal.signal(signal.SIGTERM, _end_in_order)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a live Airflow come last: it runs until the session ends, and nobody else is to pay for that."""
    items.sort(key=lambda item: item.get_closest_marker("airflow") is not None)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both clusters, with databases, roles and migrations, in a folder of their own; no Airflow."""
    folder = tmp_path_factory.mktemp("site")
    try:
        yield control.clusters_up(folder)
    finally:
        control.down(folder)


@pytest.fixture(scope="session")
def airflow_tables(site: Site) -> Site:
    """The site with Airflow's tables, of which its observer reads; no Airflow runs."""
    airflow_config.write(site)
    airflow.migrate(site)
    return site


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A whole site of its own, Airflow included, for all tests that need one: starting it takes half a minute."""
    folder = tmp_path_factory.mktemp("live")
    try:
        yield control.up(folder)
    finally:
        control.down(folder)


@pytest.fixture(scope="session")
def source_dsn(site: Site) -> str:
    """The source as `wellbe_owner`, who writes it."""
    return site.dsn("wellbe_owner")


@pytest.fixture(scope="session")
def warehouse_dsn(site: Site) -> str:
    """The warehouse as `governance_owner`, who migrates it."""
    return site.dsn("governance_owner")
