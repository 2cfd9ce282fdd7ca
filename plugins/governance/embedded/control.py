"""The site as a whole: up, down, status."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
import psycopg2

from governance import keys, schema, source_grants, source_versions, steps
from governance import policy as policies
from governance.database import translated
from governance.embedded import airflow, airflow_config, broker, postgres, processes, provision, workspaces
from governance.embedded import site as sites
from governance.embedded.airflow import Say
from governance.embedded.site import ADDRESS, ClusterName, Executor, Site
from governance.errors import SiteError
from governance.keyring import KEY_ENCRYPTION, STANDARD_KEYS, Keyring
from governance.log_tree import LogTree
from governance.policy import Policy
from governance.signers import Signers, new_origin
from governance.steps import reencryption

CLUSTERS: tuple[ClusterName, ...] = ("source", "warehouse")
_TRIES = 3


@dataclass(frozen=True)
class Part:
    """One line of the status: a cluster or a component, with all the processes that belong to it."""

    name: str
    is_running: bool
    pid: int | None
    address: str
    memory: processes.Memory
    uptime_seconds: float


def up(data_dir: Path | None = None, say: Say = lambda _: None, executor: Executor | None = None) -> Site:
    """Bring everything up and return when it is healthy; what runs already is left alone. Raises SiteError.

    The executor is kept for the next time; None takes the one that was kept, at first LocalExecutor.
    """
    folder = data_dir or sites.default_data_dir()
    with processes.only_here(folder / "lock"):
        if executor == "celery":
            broker.program()  # before anything is changed
        _require_whole(folder)
        site = start_clusters(folder, say)
        _migrate(site, say)
        if executor and executor != site.executor:
            site = dataclasses.replace(site, executor=executor)
            sites.save(site)
        _bring_site_policy(site)
        site = _start_airflow(site, say)
    say(f"everything is up; Airflow's UI: {site.api_url}  user {sites.UI_USER}  password {site.ui_password}")
    return site


def clusters_up(data_dir: Path | None = None, say: Say = lambda _: None) -> Site:
    """Bring up both clusters with databases, roles and our migrations, without Airflow. Raises SiteError."""
    folder = data_dir or sites.default_data_dir()
    with processes.only_here(folder / "lock"):
        _require_whole(folder)
        site = start_clusters(folder, say)
        _migrate(site, say)
    return site


def _require_whole(folder: Path) -> None:
    if (folder / sites.HALF_RESTORED).exists():
        raise SiteError(f"{folder} holds what a restore that was broken off has left: give `governance restore` again")


def down(data_dir: Path | None = None, say: Say = lambda _: None) -> None:
    """Stop everything and leave no process, also what a crash orphaned. Nothing to do where there is no site."""
    folder = data_dir or sites.default_data_dir()
    if folder.exists():
        with processes.only_here(folder / "lock"):
            _stop_in_order(folder, say)
    # Also when the folder or its site.json was removed under what runs.
    processes.end(processes.of_site(folder), 5)
    say("everything is down")


def status(site: Site) -> list[Part]:
    """What runs, what it uses, in the order in which it was started."""
    parts = []
    for name in CLUSTERS:
        cluster = postgres.Cluster(site, name)
        members = processes.runs_in(cluster.folder, "postgres")
        parts.append(_part(f"postgres {name}", postgres.postmaster(cluster), members, f"{ADDRESS}:{cluster.port}"))
    if site.executor == "celery":
        server = broker.running(site)
        parts.append(_part("redis", server, [server] if server else [], f"{ADDRESS}:{site.redis_port}"))
    running = airflow.running(site)
    for component in airflow.components(site):
        leader = running.get(component)
        members = processes.session_of(leader) if leader else []
        parts.append(_part(component, leader, members, site.api_url if component == "api-server" else ""))
    return parts


def total_memory(site: Site) -> processes.Memory:
    """Memory of every process of the site, tasks included."""
    return processes.memory(processes.of_site(site.data_dir))


def _stop_in_order(folder: Path, say: Say) -> None:
    try:
        site = sites.load(folder)
    except SiteError:
        return
    say("stopping Airflow")
    airflow.stop(site)
    broker.stop(site)
    # Orphans before the clusters, so that they do not fill the logs with complaints about lost connections.
    clusters = {process.pid for name in CLUSTERS for process in processes.runs_in(folder / name, "postgres")}
    processes.end([process for process in processes.of_site(folder) if process.pid not in clusters], 5)
    say("stopping Postgres")
    for name in CLUSTERS:
        postgres.stop(postgres.Cluster(site, name))


def _part(name: str, leader: psutil.Process | None, members: list[psutil.Process], address: str) -> Part:
    uptime = max(0.0, time.time() - leader.create_time()) if leader else 0.0
    return Part(name, leader is not None, leader.pid if leader else None, address, processes.memory(members), uptime)


def start_clusters(folder: Path, say: Say) -> Site:
    """Both clusters with their databases and roles, without our schemas. Raises SiteError."""
    sites.private_folder(folder)
    site = sites.load_or_create(folder)
    for attempt in range(1, _TRIES + 1):
        site = _with_free_ports(site)
        if not postgres.postmaster(postgres.Cluster(site, "warehouse")) and airflow.running(site):
            # Its parts are dying of the loss of their database, one after the other; better all at once and anew.
            say("the database is down: stopping what is left of Airflow")
            airflow.stop(site)
        try:
            with ThreadPoolExecutor(len(CLUSTERS)) as pool:
                list(pool.map(partial(_start_cluster, site, say=say), CLUSTERS))
            return site
        except SiteError:
            # Between the look at a port and its use somebody else may take it; nothing else is mended by trying again.
            if attempt == _TRIES or _with_free_ports(site) == site:
                raise
    raise AssertionError("unreachable")


def _start_cluster(site: Site, name: ClusterName, say: Say) -> None:
    cluster = postgres.Cluster(site, name)
    if not postgres.postmaster(cluster):
        say(f"starting Postgres for the {name} on {ADDRESS}:{cluster.port}")
        postgres.create(cluster)
        postgres.start(cluster)
    policy = policies.load(site=site.policy_path)
    provision.provision(site, name, policy)


def _with_free_ports(site: Site) -> Site:
    """The site, with new ports (saved) for what does not run and whose port somebody else has taken meanwhile."""
    idle = {f"{name}_port" for name in CLUSTERS if not postgres.postmaster(postgres.Cluster(site, name))}
    if "api-server" not in airflow.running(site):
        idle.add("api_port")
    if not broker.running(site):
        idle.add("redis_port")
    ports = {field: getattr(site, field) for field in ("source_port", "warehouse_port", "api_port", "redis_port")}
    taken = [field for field in ports if field in idle and not sites.is_free(ports[field])]
    if not taken:
        return site
    changes: dict[str, int] = dict(zip(taken, sites.free_ports(len(taken), avoid=ports.values()), strict=True))
    site = dataclasses.replace(site, **changes)  # type: ignore[arg-type]
    sites.save(site)
    return site


def _migrate(site: Site, say: Say) -> None:
    say("bringing the schemas of source and warehouse up to date")
    policy = policies.load(site=site.policy_path)
    source_versions.migrate(site.dsn("wellbe_owner"))
    source_grants.grant(site.dsn("wellbe_owner"), policy)
    schema.migrate(site.dsn("governance_owner"), policy, workspaces.entry_by_hand(policy, "migrate"))
    provision.note_logins(site, policy)
    _bring_keys(site, policy, say)
    _bring_signers(site)
    steps.first_identity(workspaces.workspace(site, policy), site.identity_path, workspaces.by_hand("up"))


def _bring_keys(site: Site, policy: Policy, say: Say) -> None:
    """Keyring and key store, made where nothing has been encrypted yet, and found to belong together.

    Nowhere else: a new keyring, or a new store, could read nothing of what lost ones wrote. Raises KeyringError.
    """
    owner_dsn = site.dsn("governance_owner")
    is_new = not site.key_store_path.exists() and schema.is_empty(site.dsn("coordinator"))
    if not site.keyring_path.exists() and is_new:
        Keyring.create(site.keyring_path)
    keyring = Keyring.load(site.keyring_path)
    is_of_first_version = reencryption.has_earlier_keys(keyring)
    if is_of_first_version and not keyring.versions(KEY_ENCRYPTION):
        keyring = Keyring.add_version(site.keyring_path, KEY_ENCRYPTION, STANDARD_KEYS[KEY_ENCRYPTION])
    if is_of_first_version and not site.key_store_path.exists():
        is_new = is_new or not reencryption.uses_key_store(owner_dsn, policy)
    if is_new:
        keys.create(str(site.key_store_path), keyring, now=datetime.now(UTC)).close()
    space = workspaces.workspace(site, policy)
    with closing(space.keys()):
        pass  # they belong together
    if is_of_first_version:
        say("encrypting anew what the first version of this project encrypted under one key")
        rows = reencryption.reencrypt(space, keyring, workspaces.by_hand("up"))
        say(f"{rows:,} rows are under keys of the key store; the keys of the first version are destroyed")


def _bring_signers(site: Site) -> None:
    """The keys that sign checkpoints, made where this log was never signed. Raises RunLogError."""
    if not site.signers_path.exists():
        with LogTree.connected(site.dsn("sequencer")) as tree:
            if not tree.checkpoints():
                Signers.create(site.signers_path, new_origin())
    Signers.load(site.signers_path)


def _bring_site_policy(site: Site) -> None:
    """From which partition on: where nobody has said so, the first that was pulled, else yesterday, with which the
    schedule starts. Without it, publication would wait for days from before the site, and the watch would miss them."""
    if site.policy_path.exists():
        return
    policy = policies.load()
    yesterday = datetime.now(ZoneInfo(policy.time_zone)).date() - timedelta(days=1)
    with translated(), closing(psycopg2.connect(site.dsn("coordinator"))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT dataset, min(partition_key) FROM control.batches GROUP BY dataset")
        pulled: dict[str, date] = dict(cursor.fetchall())
    sites.write_policy(site, {dataset: pulled.get(dataset, yesterday) for dataset in policy.datasets})


def _start_airflow(site: Site, say: Say) -> Site:
    site = _with_free_ports(site)
    if airflow_config.write(site) and airflow.running(site):
        say("Airflow's configuration, or the code of its tasks, has changed: starting it again")
        airflow.stop(site)
    if site.executor == "celery":
        broker.start(site)
    else:
        broker.stop(site)
    started = _start_what_is_missing(site, say)
    try:
        airflow.wait_healthy(site, say)
    except airflow.EndedError as ended:
        if ended.component in started:
            raise
        # It had run until its database was gone for a moment, and has only now died of it.
        _start_what_is_missing(site, say)
        airflow.wait_healthy(site, say)
    airflow.warm_up(site)
    return site


def _start_what_is_missing(site: Site, say: Say) -> list[str]:
    if set(airflow.running(site)) == set(airflow.components(site)):
        return []
    say("bringing Airflow's metadata up to date")
    airflow.migrate(site)
    airflow.end_orphans(site)
    say(f"starting Airflow on {site.api_url}")
    return airflow.start(site)
