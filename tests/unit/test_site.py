"""The site's own record: made once, private, complete, and able to move off a port that somebody else took."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from governance.embedded import site as sites
from governance.embedded.site import LOGINS, ROLES_FOR_PEOPLE
from governance.errors import SiteError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.clause("J1")
def test_a_new_site_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    sites.load_or_create(tmp_path / "data")
    assert mode(tmp_path / "data") == 0o700
    assert mode(tmp_path / "data" / "site.json") == 0o600


def test_a_site_is_the_same_when_it_is_loaded_again(tmp_path: Path) -> None:
    made = sites.load_or_create(tmp_path)
    assert sites.load(tmp_path) == made
    assert sites.load_or_create(tmp_path) == made


@pytest.mark.clause("J1")
def test_every_secret_of_a_site_is_its_own(tmp_path: Path) -> None:
    one, other = sites.load_or_create(tmp_path / "one"), sites.load_or_create(tmp_path / "other")
    secrets_of_one = [*one.passwords.values(), one.ui_password, one.fernet_key, one.jwt_secret, one.api_secret]
    secrets_of_other = [
        *other.passwords.values(),
        other.ui_password,
        other.fernet_key,
        other.jwt_secret,
        other.api_secret,
    ]
    both = secrets_of_one + secrets_of_other
    assert len(set(both)) == len(both)


@pytest.mark.clause("J1")
def test_a_site_shows_no_secret_when_it_is_printed(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    shown = repr(site)
    hidden = [*site.passwords.values(), site.ui_password, site.fernet_key, site.jwt_secret, site.api_secret]
    assert not [secret for secret in hidden if secret in shown]


@pytest.mark.parametrize("role", LOGINS)
def test_every_role_has_a_uri_with_its_own_password_or_that_of_the_login_which_takes_it(
    tmp_path: Path, role: str
) -> None:
    site = sites.load_or_create(tmp_path)
    login = LOGINS[role]
    port = site.source_port if login.cluster == "source" else site.warehouse_port
    where = f"127.0.0.1:{port}/{login.database}"
    if login.taken_by:
        password = site.passwords[login.taken_by]
        assert site.dsn(role) == f"postgresql://{login.taken_by}:{password}@{where}?options=-c%20role%3D{role}"
    else:
        assert site.dsn(role) == f"postgresql://{login.user}:{site.passwords[role]}@{where}"


@pytest.mark.clause("J2")
def test_a_role_that_reads_personal_zones_has_no_password(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    readers = {"loader", "validator", "publisher", "sharer", "profiler", "screener", "steward"}
    readers |= {"retainer", "governance_owner", "forwarder"}
    assert {role for role, login in LOGINS.items() if login.taken_by} == readers
    assert not readers & set(site.passwords)


def test_the_environment_for_libpq_says_what_the_uri_says(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    e = site.libpq_environment("analyst")
    uri = f"postgresql://{e['PGUSER']}:{e['PGPASSWORD']}@{e['PGHOST']}:{e['PGPORT']}/{e['PGDATABASE']}"
    assert uri == site.dsn("analyst")


@pytest.mark.clause("J2")
def test_no_superuser_and_no_owner_is_handed_to_people() -> None:
    assert set(ROLES_FOR_PEOPLE) == {"analyst", "auditor", "puller", "airflow"}


def test_a_role_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    with pytest.raises(SiteError, match="no role 'root'"):
        site.dsn("root")


def test_a_site_that_was_never_made_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="make up"):
        sites.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"source_port": 1}', '{"surprise": 1}'])
def test_a_damaged_site_is_refused_and_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "site.json").write_text(content)
    with pytest.raises(SiteError, match="not readable"):
        sites.load_or_create(tmp_path)
    assert (tmp_path / "site.json").read_text() == content


def test_clusters_without_their_passwords_are_not_given_new_ones(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "PG_VERSION").write_text("18\n")
    with pytest.raises(SiteError, match="make clean"):
        sites.load_or_create(tmp_path)


def test_a_draft_that_a_kill_has_left_goes_with_the_next_write_and_that_of_somebody_at_work_stays(
    tmp_path: Path,
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, of_another = (tmp_path / f"site.json.{pid}.draft" for pid in (gone.pid, os.getppid()))
    for draft in (left, of_another):
        draft.write_text("{")
    sites.write_private(tmp_path / "site.json", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"site.json", of_another.name}


def test_a_role_that_a_later_version_adds_gets_a_password(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    fewer = {role: password for role, password in site.passwords.items() if role != "auditor"}
    sites.save(dataclasses.replace(site, passwords=fewer))
    again = sites.load_or_create(tmp_path)
    assert {**again.passwords, "auditor": None} == {**site.passwords, "auditor": None}
    assert len(again.passwords["auditor"]) == 48
    assert sites.load(tmp_path) == again


def test_a_site_from_before_there_was_a_broker_gets_one_and_keeps_its_executor(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    written = json.loads((tmp_path / "site.json").read_text())
    del written["redis_port"], written["executor"], written["passwords"]["redis"]
    (tmp_path / "site.json").write_text(json.dumps(written))
    again = sites.load_or_create(tmp_path)
    assert again.executor == "local"
    assert again.redis_port not in (0, site.source_port, site.warehouse_port, site.api_port)
    assert len(again.redis_password) == 48
    assert sites.load(tmp_path) == again


@pytest.mark.parametrize("executor", sites.EXECUTORS)
def test_the_executor_that_was_chosen_is_kept(tmp_path: Path, executor: sites.Executor) -> None:
    sites.save(dataclasses.replace(sites.load_or_create(tmp_path), executor=executor))
    assert sites.load_or_create(tmp_path).executor == executor


def test_a_private_file_is_replaced_whole_and_reports_a_change_only_when_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    assert sites.write_private(path, "old")  # the mode was the change
    assert mode(path) == 0o600
    assert not sites.write_private(path, "old")
    assert sites.write_private(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_port_with_a_listener_is_not_free_and_is_free_again_afterwards() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not sites.is_free(port)
    assert sites.is_free(port)


def test_free_ports_are_different_and_below_the_range_of_outgoing_connections() -> None:
    ports = sites.free_ports(20)
    assert len(set(ports)) == 20
    assert all(20_000 <= port < 30_000 for port in ports)
    assert not set(sites.free_ports(20, avoid=ports)) & set(ports)


def test_the_record_holds_nothing_but_the_sites_own_fields(tmp_path: Path) -> None:
    site = sites.load_or_create(tmp_path)
    written = json.loads((tmp_path / "site.json").read_text())
    assert set(written) == {field.name for field in dataclasses.fields(site)} - {"data_dir"}
