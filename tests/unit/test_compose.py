"""docker-compose.yaml: valid, closed to the network, without a secret in it, and with the roles of the embedded site.

Its SQL, its migration and the commands in its head are run on a Postgres of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import psycopg2
import pytest
import yaml

from governance.embedded import airflow_config, postgres
from governance.embedded import site as sites
from governance.embedded.postgres import Cluster
from governance.embedded.site import LOGINS, TAKEN_ROLES, WITH_PASSWORD, WORKING_LOGINS, Site
from governance.schema import migrations
from governance.signers import Signers

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = sorted(name for name in SERVICES if name.startswith("airflow-"))
HEAD = "".join(re.findall(r"^# ?(.*\n)", TEXT.partition("\nx-airflow:")[0], re.M))
"""What whoever runs it is told."""
ROLES_SQL = (CHECKOUT / COMPOSE["configs"]["roles"]["file"]).read_text()
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
OURS = [role for role in WITH_PASSWORD if LOGINS[role].cluster == "warehouse"]
"""Who logs in at our Postgres, the superuser included."""

SECRET_NAME = re.compile(r"PASSWORD|SECRET(?!S__)|TOKEN|FERNET|_KEY|_CONN|BROKER_URL|RESULT_BACKEND|DSN")
EVERYTHING = TEXT + ROLES_SQL + DOCKERFILE
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


def test_docker_compose_of_debian_takes_it_as_it_stands(tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if not program:
        pytest.skip("docker-compose is not installed (on Debian: package docker-compose)")
    given = {"AIRFLOW_UID": "1000", "GOVERNANCE_FOLDER": "/keys", "GOVERNANCE_CHECKPOINTS": "/heads"}
    command = [program, "--file", str(CHECKOUT / "docker-compose.yaml"), "config"]
    taken = subprocess.run(
        command, cwd=tmp_path, env={**given, "PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert taken.returncode == 0, taken.stderr
    read = yaml.safe_load(taken.stdout)
    assert set(read["services"]) == set(SERVICES)
    assert read["volumes"]["ui"]["driver_opts"]["device"] == "/keys/ui"
    # It goes on only with the three that have no default.
    without = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert without.returncode != 0


def test_every_service_that_an_installation_needs_is_there_and_the_source_is_not() -> None:
    parts = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
    assert set(SERVICES) == {"postgres", "redis", *(f"airflow-{part}" for part in parts)}


@pytest.mark.clause("J1")
def test_every_published_port_is_bound_to_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"airflow-api-server"}
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
                assert "/run/secrets/" in value or value.startswith("/opt/airflow/ui/"), f"{name}: {variable}"
    assert [name for name in DEFAULT.findall(TEXT) if not name.endswith("_PORT")] == []


@pytest.mark.clause("J1")
def test_no_secret_stands_in_the_file() -> None:
    for secret in COMPOSE["secrets"].values():
        assert set(secret) == {"file"}
        assert secret["file"].startswith("${GOVERNANCE_FOLDER:?")
    for found in re.findall(r"://[^\s/@:]*:([^\s@]+)@", TEXT):
        assert found in {"%s", "{password}"}, "an address with a password"
    for found in re.findall(r"PASSWORD\s+(\S+)", ROLES_SQL):
        assert found.startswith(":'"), "a password in SQL"
    assert "PRIVATE+KEY" not in TEXT
    assert re.findall(r"\b[0-9a-fA-F]{24,}\b|[A-Za-z0-9+/_-]{40,}={0,2}(?![\w/.])", without_paths(EVERYTHING)) == []


def without_paths(text: str) -> str:
    return re.sub(r"AIRFLOW__\w+|[\w.-]*(?:/[\w.-]+)+", "", text)


@pytest.mark.clause("J2")
def test_keys_and_connections_are_given_to_the_workers_alone() -> None:
    for secret in ("keyring.json", "connections.json", "run_log_signers.txt", "delivery_identity.pem"):
        assert [name for name, service in SERVICES.items() if secret in service.get("secrets", [])] == [
            "airflow-worker"
        ]
    holders = {
        secret: [name for name, service in SERVICES.items() if secret in service.get("secrets", [])]
        for secret in (f"{role}_password" for role in OURS)
    }
    airflow = holders.pop("airflow_password")
    assert airflow == ["postgres", *(name for name in SERVICES if name in AIRFLOW)]
    # Airflow knows the other logins from connections.json, and the owner's from nowhere.
    assert holders.pop("migrator_password") == ["postgres", "airflow-init"]
    assert set(map(tuple, holders.values())) == {("postgres",)}
    assert len(holders) == 9


def test_every_secret_is_declared_and_used() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    read = set(re.findall(r"/run/secrets/([a-z_]+(?:\.json|\.txt|\.pem)?)", EVERYTHING))
    assert read == used


def told_files() -> set[str]:
    """The files that the head tells to make."""
    [names] = re.findall(r"^  for name in (.*); do$", HEAD, re.M)
    others = re.findall(r"^  ((?:ui/)?\w+\.(?:json|yaml|txt|pem)) ", HEAD, re.M) + re.findall(
        r"> (\w+\.(?:secret|key))", HEAD
    )
    return {f"{name}.password" for name in names.split()} | set(others)


def test_the_head_tells_to_make_every_file_that_is_used_and_no_other() -> None:
    used = set(re.findall(r"\$\{GOVERNANCE_FOLDER:\?[^}]*\}/([\w.]+)", TEXT))
    assert {name.partition("/")[0] for name in told_files()} | {"certificates", "outboxes"} == used
    assert "and a folder certificates, mode 0700" in HEAD
    assert "And a folder outboxes, mode 0700" in HEAD
    assert "ui/ui_passwords.json" in told_files()
    assert {name for name in used if name.endswith(".password")} == {f"{name}.password" for name in (*OURS, "redis")}


def test_the_head_names_the_connections_that_the_embedded_airflow_has() -> None:
    told = re.findall(r"^ {20,}(wellbe_\w+) {2,}", HEAD, re.M)
    needed = set(re.findall(r'"(wellbe_\w+)":', Path(airflow_config.__file__).read_text()))
    assert set(told) == needed
    assert len(told) == len(needed) == 16
    for login in WORKING_LOGINS:
        name = "wellbe_warehouse" if login == "pipeline" else f"wellbe_warehouse_{login}"
        assert re.search(rf"^ +{name} +login {login}\b", HEAD, re.M)
    mounted = {f"/run/secrets/{secret}" for secret in SERVICES["airflow-worker"]["secrets"]}
    mounted |= {config["target"] for config in SERVICES["airflow-worker"]["configs"]}
    mounted |= {volume.partition(":")[2].removesuffix(":ro") for volume in SERVICES["airflow-worker"]["volumes"]}
    paths = re.findall(r'"path": "([^"]+)"', HEAD)
    assert len(paths) == 7
    assert set(paths) <= mounted


@pytest.mark.clause("R1")
def test_checkpoints_leave_the_workers_for_a_folder_of_the_machine() -> None:
    holders = [
        name for name, service in SERVICES.items() if any("checkpoints:" in v for v in service.get("volumes", []))
    ]
    assert holders == ["airflow-worker"]
    device = COMPOSE["volumes"]["checkpoints"]["driver_opts"]["device"]
    assert device.startswith("${GOVERNANCE_CHECKPOINTS:?")


@pytest.mark.clause("F1")
def test_certificates_of_recipients_are_read_by_the_workers_and_written_by_nobody() -> None:
    volumes = {name: [v for v in s.get("volumes", []) if "certificates:" in v] for name, s in SERVICES.items()}
    assert {name: found for name, found in volumes.items() if found} == {
        "airflow-worker": ["certificates:/opt/airflow/certificates:ro"]
    }


def test_a_folder_of_the_machine_is_never_made_by_docker() -> None:
    """It would belong to root, and Airflow could not write there. A volume of this kind fails without its folder."""
    named = set(COMPOSE["volumes"])
    for service in SERVICES.values():
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= named
    for volume in ("ui", "checkpoints", "certificates", "outboxes"):
        options = COMPOSE["volumes"][volume]["driver_opts"]
        assert (options["type"], options["o"]) == ("none", "bind")


@pytest.mark.clause("J1")
def test_nothing_runs_as_root_or_could_become_it() -> None:
    for name, service in SERVICES.items():
        assert re.match(r"999:|\$\{AIRFLOW_UID:\?", service["user"]), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_service_has_a_limit_of_processors_and_memory() -> None:
    for name, service in SERVICES.items():
        limits = service["deploy"]["resources"]["limits"]
        assert 0 < float(limits["cpus"]) <= 2, name
        assert re.fullmatch(r"\d+[mg]", limits["memory"]), name


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


def test_the_image_has_the_airflow_that_requirements_pin_and_nothing_beside_them() -> None:
    [pinned] = re.findall(r"^apache-airflow==([\d.]+)$", (CHECKOUT / "requirements.txt").read_text(), re.M)
    assert f"FROM apache/airflow:{pinned}-python3.12" in DOCKERFILE
    assert SERVICES["airflow-worker"]["image"].endswith(f":{pinned}")
    assert SERVICES["airflow-worker"]["build"] == {"context": "."}
    assert re.findall(r"pip install (.*)", DOCKERFILE) == ["--no-cache-dir --requirement /tmp/requirements.txt"]


def test_no_image_floats() -> None:
    assert SERVICES["postgres"]["image"].startswith("postgres:18.")
    for service in SERVICES.values():
        assert re.search(r":\d+\.\d+(\.\d+)?(-bookworm)?$", service["image"]), service["image"]


def test_what_the_image_copies_exists_and_is_let_through_to_the_builder() -> None:
    copied = re.findall(r"^COPY (?:--\S+ )?(\S+)", DOCKERFILE, re.M)
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert len(copied) == 4
    for path in copied:
        assert (CHECKOUT / path).exists()
        assert f"!{path}" in ignored


# -- on a Postgres of its own ------------------------------------------------------------------------------------------


def test_the_server_keeps_rows_out_of_its_log_and_notices_lost_clients_as_the_embedded_ones_do() -> None:
    program, *arguments = SERVICES["postgres"]["command"]
    assert program == "postgres"
    assert arguments[::2] == ["-c"] * (len(arguments) // 2)
    given = dict(argument.split("=") for argument in arguments[1::2])
    embedded = dict(re.findall(r"^(\w+) = (\S+)$", postgres._SETTINGS, re.M))
    log = {"log_min_messages", "log_min_error_statement", "log_error_verbosity"}
    clients = {name for name in embedded if name.startswith("tcp_")} | {"client_connection_check_interval"}
    assert given == {name: embedded[name] for name in log | clients} and len(clients) == 5


def psql(installation: Site, script: str, *arguments: str, database: str = "postgres") -> None:
    """Run a script as the superuser, as the image's entry point does."""
    done = subprocess.run(
        [postgres.program("psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--no-password", *arguments],
        input=script, text=True, capture_output=True,
        env={**installation.libpq_environment("postgres"), "PGDATABASE": database, "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def migration() -> str:
    """The Python that airflow-init runs."""
    [script] = re.findall(r"<<'PYTHON'\n(.*)\nPYTHON", SERVICES["airflow-init"]["command"][2], re.S)
    return textwrap.dedent(script)


def migrate_airflow(made: Site, folder: Path) -> None:
    """The first command of airflow-init, with the database's address in a variable as no secret is mounted here."""
    assert "\nairflow db migrate\n" in SERVICES["airflow-init"]["command"][2]
    address = made.dsn("airflow").replace("postgresql://", "postgresql+psycopg2://")
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True,
        env={"AIRFLOW_HOME": str(folder / "home"), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address, "HOME": str(folder)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A new Postgres with what the file makes of it, in its order: roles, migration, the noting of logins."""
    folder = tmp_path_factory.mktemp("compose")
    secrets = folder / "secrets"
    secrets.mkdir()
    made = sites.load_or_create(folder / "site")
    for role in OURS:
        (secrets / f"{role}_password").write_text(f"{made.passwords[role]}\n")
    (secrets / "policy.yaml").write_text("first_partition: {bookings: 2026-03-10, visits: 2026-03-10}\n")
    cluster = Cluster(made, "warehouse")
    postgres.create(cluster)
    postgres.start(cluster)
    try:
        psql(made, ROLES_SQL.replace("/run/secrets/", f"{secrets}/"))
        migrate_airflow(made, folder)
        script = migration().replace("/run/secrets/", f"{secrets}/").replace("/opt/airflow/site/", f"{secrets}/")
        script = script.replace("@postgres/", f"@{sites.ADDRESS}:{made.warehouse_port}/")
        subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(CHECKOUT / "plugins")}, check=True)
        [expression] = re.findall(r"-c '(from governance\.embedded\.provision [^']*)' > note_login", HEAD)
        printed = subprocess.run(
            [sys.executable, "-c", expression], env={"PYTHONPATH": str(CHECKOUT / "plugins")},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        note_login = "\n".join([printed.stdout, *re.findall(r"^  echo '(.*)' >> note_login\.sql$", HEAD, re.M)])
        for _ in range(2):  # an update does it again
            psql(made, note_login, "--single-transaction", database="governance")
        yield made
    finally:
        postgres.stop(cluster)


STATE = {
    "roles": """
        SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
            rolconnlimit, rolpassword IS NOT NULL, rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid""",
    "memberships": """
        SELECT m.rolname, r.rolname, a.admin_option, a.inherit_option, a.set_option FROM pg_auth_members a
        JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid""",
    "databases": """
        SELECT datname, pg_get_userbyid(datdba), acl.privilege_type, acl.grantee::regrole::text FROM pg_database
        CROSS JOIN LATERAL aclexplode(coalesce(datacl, acldefault('d', datdba))) acl WHERE datname <> 'template0'""",
    "large objects and counters": "SELECT proname, pg_get_function_identity_arguments(oid), proacl::text FROM pg_proc "
    "WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^(lo|pg)_'",
    "schemas": """
        SELECT nspname, pg_get_userbyid(nspowner), acl.privilege_type, acl.grantee::regrole::text FROM pg_namespace
        CROSS JOIN LATERAL aclexplode(coalesce(nspacl, acldefault('n', nspowner))) acl WHERE nspname !~ '^pg_'""",
    "tables": """
        SELECT c.oid::regclass::text, pg_get_userbyid(relowner), acl.privilege_type, acl.grantee::regrole::text
        FROM pg_class c CROSS JOIN LATERAL aclexplode(coalesce(relacl, acldefault('r', relowner))) acl
        WHERE relkind IN ('r', 'v') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'""",
    "columns": """
        SELECT attrelid::regclass::text, attname, acl.privilege_type, acl.grantee::regrole::text FROM pg_attribute
        CROSS JOIN LATERAL aclexplode(attacl) acl""",
    "functions": """
        SELECT p.oid::regprocedure::text, pg_get_userbyid(proowner), prosecdef, acl.privilege_type,
            acl.grantee::regrole::text
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) acl
        WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema)'""",
    "event triggers": "SELECT evtname, evtevent, evtenabled, evtfoid::regprocedure::text, pg_get_userbyid(evtowner) "
    "FROM pg_event_trigger",
}
"""What decides who may do what."""


def asked(site: Site, role: str, query: str, **options: str) -> list[tuple[Any, ...]]:
    """The rows of a query, in order."""
    with closing(psycopg2.connect(site.dsn(role), **options)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return sorted(cursor.fetchall(), key=str)


@pytest.mark.pg
@pytest.mark.clause("J1")
@pytest.mark.clause("J2")
@pytest.mark.parametrize("database", ("governance", "airflow"))
@pytest.mark.parametrize("what", STATE)
def test_what_the_file_makes_is_what_the_embedded_site_has(
    installation: Site, airflow_tables: Site, what: str, database: str
) -> None:
    made = asked(installation, "postgres", STATE[what], dbname=database)
    assert made == asked(airflow_tables, "postgres", STATE[what], dbname=database)
    assert made or (database == "airflow" and what in ("event triggers", "functions"))


@pytest.mark.pg
@pytest.mark.clause("J2")
def test_every_login_gets_in_and_every_other_role_is_taken(installation: Site) -> None:
    ours = [role for role, login in LOGINS.items() if login.cluster == "warehouse"]
    for role in ours:
        login = LOGINS[role].taken_by or role
        assert asked(installation, role, "SELECT current_user, session_user") == [(role, login)]
    taken = [role for role in ours if LOGINS[role].taken_by]
    assert sorted(taken) == sorted((*TAKEN_ROLES, "governance_owner"))
    for role in taken:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(installation.dsn("pipeline"), user=role)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        asked(installation, "pipeline", "SELECT 1 FROM vault.bookings")


@pytest.mark.pg
@pytest.mark.clause("R1")
def test_the_migration_is_in_the_run_log_and_every_connection_after_it_is_noted(installation: Site) -> None:
    entries = "SELECT event, outcome, database_role::text, database_login::text FROM audit.run_log"
    assert asked(installation, "auditor", entries) == [("migrate", "passed", "governance_owner", "migrator")]
    names = [(name,) for name, _ in migrations()]
    assert asked(installation, "governance_owner", "SELECT name FROM public.schema_migrations") == names
    count = "SELECT count(*) FROM audit.sessions WHERE database_login = 'coordinator'"
    ((before,),) = asked(installation, "auditor", count)
    asked(installation, "coordinator", "SELECT 1")
    assert asked(installation, "auditor", count) == [(before + 1,)]


@pytest.mark.pg
def test_the_superuser_gets_in_where_connections_cannot_be_noted(installation: Site) -> None:
    [options] = re.findall(r"PGOPTIONS='([^']*)'", HEAD)
    with closing(psycopg2.connect(installation.dsn("governance_owner"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit.sessions RENAME TO lost")
            for role in ("analyst", "pipeline", "postgres"):
                with pytest.raises(psycopg2.OperationalError, match=r"audit\.sessions"):
                    psycopg2.connect(installation.dsn(role), dbname="governance")
            assert asked(installation, "postgres", "SELECT 1", dbname="governance", options=options) == [(1,)]
            cursor.execute("ALTER TABLE audit.lost RENAME TO sessions")


@pytest.mark.clause("R1")
def test_the_command_for_the_signing_key_makes_one(tmp_path: Path) -> None:
    [command] = re.findall(r"python -c '([^']*create[^']*)'", HEAD)
    script = "\n".join(line.strip() for line in command.splitlines())
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(CHECKOUT / "plugins")}, check=True
    )
    assert len(Signers.load(tmp_path / "run_log_signers.txt").keys) == 1
