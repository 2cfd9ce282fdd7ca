"""What one checkout's embedded site is: its folder, ports, roles and secrets, kept in `.data/site.json` (0600)."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from governance.database import taking
from governance.errors import SiteError

ADDRESS = "127.0.0.1"
CHECKOUT = Path(__file__).resolve().parents[3]
UI_USER = "admin"

ClusterName = Literal["source", "warehouse"]
Executor = Literal["local", "celery"]
EXECUTORS: tuple[Executor, ...] = get_args(Executor)


@dataclass(frozen=True)
class Login:
    """Where a role logs in: cluster, database, and its name there; `taken_by` where another logs in and takes it."""

    cluster: ClusterName
    database: str
    user: str
    taken_by: str | None = None


TAKEN_ROLES = (
    "loader", "validator", "publisher", "sharer", "forwarder", "profiler", "screener", "retainer", "steward",
)  # fmt: skip
"""Roles of our database that the login `pipeline` takes, once the run log says so."""
WORKING_LOGINS = ("pipeline", "recorder", "custodian", "sequencer", "coordinator")
"""Logins of our database that steps work with."""

LOGINS: Mapping[str, Login] = MappingProxyType(
    {
        "source_postgres": Login("source", "postgres", "postgres"),
        "wellbe_owner": Login("source", "wellbe", "wellbe_owner"),
        "puller": Login("source", "wellbe", "puller"),
        "source_retention": Login("source", "wellbe", "source_retention"),
        "postgres": Login("warehouse", "postgres", "postgres"),
        "airflow": Login("warehouse", "airflow", "airflow"),
        "observer": Login("warehouse", "airflow", "observer"),
        **{
            role: Login("warehouse", "governance", role) for role in ("migrator", *WORKING_LOGINS, "analyst", "auditor")
        },
        "governance_owner": Login("warehouse", "governance", "governance_owner", taken_by="migrator"),
        **{role: Login("warehouse", "governance", role, taken_by="pipeline") for role in TAKEN_ROLES},
    }
)
"""Every role of both clusters by the name that `Site.dsn` knows it by; the two superusers differ only here."""

WITH_PASSWORD = tuple(role for role, login in LOGINS.items() if not login.taken_by)

_REDIS = "redis"
"""Under this name the broker's password stands among those of the roles."""

HALF_RESTORED = "half_restored"
"""A file in the site's folder, as long as a restore has not come to its end."""

ROLES_FOR_PEOPLE = ("analyst", "auditor", "puller", "airflow")
"""The roles that the command line hands out."""


@dataclass(frozen=True)
class Site:
    """Addresses and secrets of one site. Its `repr` shows no secret."""

    data_dir: Path
    source_port: int
    warehouse_port: int
    api_port: int
    passwords: Mapping[str, str] = dataclasses.field(repr=False)
    ui_password: str = dataclasses.field(repr=False)
    fernet_key: str = dataclasses.field(repr=False)
    jwt_secret: str = dataclasses.field(repr=False)
    api_secret: str = dataclasses.field(repr=False)
    executor: Executor = "local"
    redis_port: int = 0  # 0 in the record of a site that was made before there was a choice of executors

    def port(self, cluster: ClusterName) -> int:
        """TCP port of a cluster on 127.0.0.1."""
        return self.source_port if cluster == "source" else self.warehouse_port

    def dsn(self, role: str) -> str:
        """The libpq URI, password included, to work as a role of `LOGINS`. Raises SiteError for any other."""
        login = _login(role)
        if login.taken_by:
            return taking(self.dsn(login.taken_by), role)
        # Passwords are hex digits, so nothing in the URI needs quoting.
        return f"postgresql://{login.user}:{self.passwords[role]}@{ADDRESS}:{self.port(login.cluster)}/{login.database}"

    def libpq_environment(self, role: str) -> dict[str, str]:
        """The same as environment variables, for programs whose arguments everybody can read in the process list."""
        login = _login(role)
        if login.taken_by:
            return {**self.libpq_environment(login.taken_by), "PGOPTIONS": f"-c role={role}"}
        return {
            "PGHOST": ADDRESS,
            "PGPORT": str(self.port(login.cluster)),
            "PGUSER": login.user,
            "PGPASSWORD": self.passwords[role],
            "PGDATABASE": login.database,
        }

    @property
    def redis_password(self) -> str:
        """What the broker asks its clients for."""
        return self.passwords[_REDIS]

    @property
    def broker_url(self) -> str:
        """Where Celery's workers take their tasks from, password included."""
        return f"redis://:{self.redis_password}@{ADDRESS}:{self.redis_port}/0"

    @property
    def api_url(self) -> str:
        """Base address of Airflow's UI and API."""
        return f"http://{ADDRESS}:{self.api_port}"

    @property
    def keyring_path(self) -> Path:
        """Where the keyring lies: outside both clusters, and beside the key store only in a checkout."""
        return self.data_dir / "keyring.json"

    @property
    def key_store_path(self) -> Path:
        """Where the key store lies: outside both clusters."""
        return self.data_dir / "keys.sqlite"

    @property
    def signers_path(self) -> Path:
        """The keys that sign the run log's checkpoints."""
        return self.data_dir / "run_log_signers.txt"

    @property
    def checkpoints_path(self) -> Path:
        """Where checkpoints are published: beside the site's folder, which nobody else may enter, for the auditor to
        pull."""
        return self.data_dir.with_name(f"{self.data_dir.name}-checkpoints")

    @property
    def certificates_path(self) -> Path:
        """The certificates of recipients: nothing secret, but whoever changes one reads what is delivered."""
        return self.data_dir / "certificates"

    @property
    def policy_path(self) -> Path:
        """The site's own part of the policy: from which partition on its datasets are processed."""
        return self.data_dir / "policy.yaml"


def default_data_dir() -> Path:
    """The `.data/` of the checkout that this code belongs to, whatever the working directory."""
    return CHECKOUT / ".data"


def load(data_dir: Path | None = None) -> Site:
    """The site in `data_dir` (default: this checkout's). Raises SiteError when it was never made or cannot be read."""
    folder = data_dir or default_data_dir()
    try:
        raw: dict[str, Any] = json.loads((folder / "site.json").read_text())
        return Site(data_dir=folder, **raw)
    except FileNotFoundError:
        raise SiteError(f"no site in {folder} yet: run `make up` or `make demo` first") from None
    except (ValueError, TypeError):
        raise SiteError(
            f"{folder / 'site.json'} is not readable as a site: restore it, or run `make clean` to start anew"
        ) from None


def load_or_create(data_dir: Path | None = None) -> Site:
    """The site in `data_dir`, made with fresh ports and secrets when there is none. Writes `site.json`.

    Raises SiteError when clusters exist without the passwords that open them.
    """
    folder = data_dir or default_data_dir()
    if (folder / "site.json").exists():
        site = load(folder)
        completed = _completed(site)
        if completed == site:
            return site
        site = completed
    elif any((folder / name / "PG_VERSION").exists() for name in ("source", "warehouse")):
        raise SiteError(
            f"{folder} holds clusters but no site.json with their passwords: run `make clean` to start anew"
        )
    else:
        site = _new(folder)
    save(site)
    return site


def save(site: Site) -> None:
    """Write `site.json` whole or not at all, readable by its owner only."""
    private_folder(site.data_dir)
    values = dataclasses.asdict(site)
    del values["data_dir"]
    write_private(site.data_dir / "site.json", json.dumps(values, indent=2) + "\n")


def write_policy(site: Site, first: Mapping[str, date]) -> None:
    """Set from which partition on this site processes its datasets."""
    lines = "".join(f"  {dataset}: {day}\n" for dataset, day in first.items())
    write_private(
        site.policy_path, f"# The site's own part of the policy; see policies/policy.yaml.\nfirst_partition:\n{lines}"
    )


def write_private(path: Path, text: str) -> bool:
    """Replace a file by one with mode 0600, whole or not at all; True when its content changed."""
    if path.exists() and path.stat().st_mode & 0o777 == 0o600 and path.read_text() == text:
        return False
    for left in path.parent.glob(f"{path.name}.*.draft"):  # of a process that was killed: it holds secrets too
        if not Path("/proc", left.name.split(".")[-2]).exists():
            left.unlink(missing_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return True


def private_folder(path: Path) -> Path:
    """Make a folder with mode 0700 (those above it, when missing, get the usual mode)."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As Postgres and uvicorn do it: a port whose last connections are still timing out counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
            probe.listen()  # bind alone succeeds beside a listener that also set SO_REUSEADDR
        except OSError:
            return False
    return True


def free_ports(count: int, avoid: Iterable[int] = ()) -> list[int]:
    """`count` different free ports, below the range of outgoing connections, so that they stay free."""
    taken = set(avoid)
    found: list[int] = []
    for _ in range(10_000):
        if len(found) == count:
            return found
        port = 20_000 + secrets.randbelow(10_000)
        if port not in taken and is_free(port):
            taken.add(port)
            found.append(port)
    raise SiteError(f"no free port on {ADDRESS} between 20000 and 29999")


def _login(role: str) -> Login:
    try:
        return LOGINS[role]
    except KeyError:
        raise SiteError(f"there is no role {role!r}; roles: {', '.join(sorted(LOGINS))}") from None


def _completed(site: Site) -> Site:
    """The site with what a later version of this project added: a role, the broker."""
    missing = {name: secrets.token_hex(24) for name in (*WITH_PASSWORD, _REDIS) if name not in site.passwords}
    taken = (site.source_port, site.warehouse_port, site.api_port)
    redis_port = site.redis_port or free_ports(1, avoid=taken)[0]
    return dataclasses.replace(site, passwords={**site.passwords, **missing}, redis_port=redis_port)


def _new(folder: Path) -> Site:
    source_port, warehouse_port, api_port, redis_port = free_ports(4)
    return Site(
        data_dir=folder,
        source_port=source_port,
        warehouse_port=warehouse_port,
        api_port=api_port,
        redis_port=redis_port,
        passwords={name: secrets.token_hex(24) for name in (*WITH_PASSWORD, _REDIS)},
        ui_password=secrets.token_hex(8),
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt_secret=secrets.token_hex(32),
        api_secret=secrets.token_hex(32),
    )
