"""The commands of the embedded site: what they hand out, what they pass on, and what stays out of the process list."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from governance.__main__ import main
from governance.embedded import site as sites
from governance.embedded.site import LOGINS, ROLES_FOR_PEOPLE, Site


class Became(BaseException):
    """Stands for the program that would have taken this process's place."""

    def __init__(self, program: str, command: list[str], environment: dict[str, str]) -> None:
        self.program, self.command, self.environment = program, command, environment


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site that the command line takes for its own; nothing runs."""

    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        raise Became(program, command, environment)

    monkeypatch.setattr(sites, "default_data_dir", lambda: tmp_path)
    monkeypatch.setattr(os, "execve", become)
    return sites.load_or_create(tmp_path)


@pytest.mark.parametrize("role", ROLES_FOR_PEOPLE)
def test_dsn_prints_the_uri_of_a_role_and_nothing_else(
    here: Site, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dsn", "--role", role]) == 0
    assert capsys.readouterr() == (here.dsn(role) + "\n", "")


@pytest.mark.clause("J2")
@pytest.mark.parametrize("role", sorted(set(LOGINS) - set(ROLES_FOR_PEOPLE)))
@pytest.mark.parametrize("command", ["dsn", "psql"])
@pytest.mark.usefixtures("here")
def test_the_pipelines_own_roles_are_not_handed_out(command: str, role: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, "--role", role])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--role", "analyst", "-A", "-t", "-c", "SELECT 1"],
        ["-A", "-t", "--role", "analyst", "-c", "SELECT 1"],
        ["-A", "-t", "-c", "SELECT 1", "--role=analyst"],
    ],
)
def test_psql_passes_all_other_arguments_on_in_their_order(here: Site, arguments: list[str]) -> None:
    with pytest.raises(Became) as became:
        main(["psql", *arguments])
    assert Path(became.value.program).name == "psql"
    assert became.value.command[1:] == ["-A", "-t", "-c", "SELECT 1"]
    assert became.value.environment.items() >= here.libpq_environment("analyst").items()
    assert not [word for word in became.value.command if here.passwords["analyst"] in word]


def test_psql_is_not_led_astray_by_the_callers_environment(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSERVICE", "PGOPTIONS", "PGHOSTADDR", "PGPASSWORD"):
        monkeypatch.setenv(name, "elsewhere")
    with pytest.raises(Became) as became:
        main(["psql", "--role", "auditor"])
    assert "elsewhere" not in became.value.environment.values()
    assert became.value.environment["PGPASSWORD"] == here.passwords["auditor"]


def test_airflow_gets_every_argument_and_this_sites_home(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "Elsewhere")
    with pytest.raises(Became) as became:
        main(["airflow", "dags", "list", "--output", "json", "--help"])
    assert became.value.command[1:] == ["-m", "airflow", "dags", "list", "--output", "json", "--help"]
    assert became.value.environment["AIRFLOW_HOME"] == str(here.data_dir / "airflow")
    assert "AIRFLOW__CORE__EXECUTOR" not in became.value.environment


@pytest.mark.clause("J1")
@pytest.mark.usefixtures("here")
def test_no_process_of_airflow_carries_a_secret_in_its_environment() -> None:
    with pytest.raises(Became) as became:
        main(["airflow", "version"])
    site = sites.load()
    secrets = {*site.passwords.values(), site.ui_password, site.fernet_key, site.jwt_secret, site.api_secret}
    assert not secrets & set(became.value.environment.values())


@pytest.mark.clause("J1")
@pytest.mark.usefixtures("here")
def test_airflows_configuration_is_readable_by_its_owner_only() -> None:
    with pytest.raises(Became):
        main(["airflow", "version"])
    home = sites.load().data_dir / "airflow"
    assert {path.stat().st_mode & 0o077 for path in [home, *home.iterdir()]} == {0}


def test_workers_without_a_broker_are_refused_before_anything_changes(
    here: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(here.data_dir))
    assert main(["up", "--executor", "celery"]) == 1
    assert "package redis-server" in capsys.readouterr().err
    assert sites.load_or_create(here.data_dir) == here
    assert not (here.data_dir / "warehouse").exists()


def test_a_checkout_where_nothing_was_started_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sites, "default_data_dir", lambda: tmp_path / "nothing")
    assert main(["status"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("governance: no site in ")
    assert err.count("\n") == 1
