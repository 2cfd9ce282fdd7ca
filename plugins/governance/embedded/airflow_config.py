"""How Airflow is set up on a site: one airflow.cfg (0600), connections, the UI login, the environment of its processes.

Everything is in the file, so that no process carries a secret in its environment and `airflow` behaves the same
wherever it is called from.
"""

from __future__ import annotations

import configparser
import io
import json
import os
from pathlib import Path

from governance.embedded.processes import MARKER
from governance.embedded.site import ADDRESS, CHECKOUT, LOGINS, UI_USER, Site, private_folder, write_private
from governance.preloading import HEAVY
from governance.recording import code_digest

WORKER_CONCURRENCY = 2
"""Tasks that one of Celery's workers runs at a time."""

_CONNECTIONS = {
    "wellbe_source": "puller",
    "wellbe_source_retention": "source_retention",
    "wellbe_warehouse": "pipeline",
    "wellbe_warehouse_recorder": "recorder",
    "wellbe_warehouse_coordinator": "coordinator",
    "wellbe_warehouse_custodian": "custodian",
    "wellbe_warehouse_sequencer": "sequencer",
    "wellbe_airflow": "observer",
}
"""Airflow connection -> the role that it logs in as."""


def home(site: Site) -> Path:
    """AIRFLOW_HOME of the site; also the working directory by which its processes are known."""
    return site.data_dir / "airflow"


def environment(site: Site) -> dict[str, str]:
    """The environment for a process of Airflow: the caller's, less what would steer Airflow or libpq elsewhere."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG", "_AIRFLOW"))}
    return {
        **own,
        "AIRFLOW_HOME": str(home(site)),
        MARKER: str(site.data_dir),
        "PYTHONUNBUFFERED": "1",  # otherwise the end of a crashed component's output is lost
        "SCARF_ANALYTICS": "false",
        "GX_ANALYTICS_ENABLED": "false",
    }


def write(site: Site) -> bool:
    """Write configuration, connections, the UI's password file and which code it is; True when any of them changed."""
    folder = private_folder(home(site))
    private_folder(folder / "logs")
    changed = [
        write_private(folder / "airflow.cfg", _as_text(settings(site))),
        write_private(folder / "connections.json", json.dumps(_connections(site), indent=2) + "\n"),
        write_private(folder / "ui_passwords.json", json.dumps({UI_USER: site.ui_password}) + "\n"),
        # Tasks are forked from processes that have imported the code: these must not outlive it.
        write_private(folder / "code.sha256", f"{code_digest()}\n"),
    ]
    return any(changed)


def settings(site: Site) -> dict[str, dict[str, str]]:
    """What airflow.cfg says: section -> key -> value."""
    common = _common(site)
    if site.executor == "local":
        return common
    of_celery = _of_celery(site)
    return {section: {**common.get(section, {}), **of_celery.get(section, {})} for section in {**common, **of_celery}}


def _common(site: Site) -> dict[str, dict[str, str]]:
    folder = home(site)
    return {
        "core": {
            "dags_folder": str(CHECKOUT / "dags"),
            "plugins_folder": str(CHECKOUT / "plugins"),
            "executor": "LocalExecutor",
            "parallelism": "4",
            "load_examples": "False",
            "fernet_key": site.fernet_key,
            "execution_api_server_url": f"{site.api_url}/execution/",
            # The default asks the name service, which on a machine without one takes seconds.
            "hostname_callable": "socket.gethostname",
            "simple_auth_manager_users": f"{UI_USER}:admin",
            "simple_auth_manager_passwords_file": str(folder / "ui_passwords.json"),
        },
        "database": {"sql_alchemy_conn": _metadata(site)},
        "secrets": {
            "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "backend_kwargs": json.dumps({"connections_file_path": str(folder / "connections.json")}),
        },
        "api": {
            "host": ADDRESS,
            "port": str(site.api_port),
            "base_url": site.api_url,
            "workers": "1",
            "secret_key": site.api_secret,
            "expose_config": "False",
        },
        "api_auth": {"jwt_secret": site.jwt_secret},
        "scheduler": {
            # A trivial task takes 0.9 s instead of 1.9 s when the scheduler naps shorter.
            "scheduler_idle_sleep_time": "0.2",
            "enable_health_check": "False",
            # Tasks report every five seconds; the default waits five minutes before a dead one is retried.
            # A task that was retried too early harms nothing: its partition is held by a lock until it has ended.
            "task_instance_heartbeat_timeout": "30",
            "task_instance_heartbeat_timeout_detection_interval": "5",
        },
        "dag_processor": {"refresh_interval": "15", "min_file_process_interval": "15", "parsing_processes": "1"},
        "logging": {"base_log_folder": str(folder / "logs"), "colored_console_log": "False"},
        "usage_data_collection": {"enabled": "False"},
    }


def _of_celery(site: Site) -> dict[str, dict[str, str]]:
    """What CeleryExecutor needs, and how soon it notices that a worker, or the broker with its messages, has died."""
    return {
        "core": {"executor": "CeleryExecutor"},
        "celery": {
            "broker_url": site.broker_url,
            "result_backend": f"db+{_metadata(site)}",
            "worker_concurrency": str(WORKER_CONCURRENCY),
            # In the worker, before it forks: otherwise each task would spend seconds on them.
            "extra_celery_config": json.dumps({"imports": HEAVY}),
        },
        # A message that a dead worker had taken is handed out again after so many seconds. Airflow has long retried its
        # task by then, and refuses a second start. Less than a task may take (two hours) would start it twice.
        "celery_broker_transport_options": {"visibility_timeout": "10800"},
        # Each worker would keep a process of 100 MB that tidies up versions of DAG folders; ours has one.
        "dag_processor": {"stale_bundle_cleanup_interval": "0"},
        "scheduler": {
            # Messages that were lost with the broker are sent again. As there are no more tasks than workers take
            # (core.parallelism), none waits so long for a worker that runs.
            "task_queued_timeout": "120",
            "task_queued_timeout_check_interval": "15",
        },
    }


def _metadata(site: Site) -> str:
    return site.dsn("airflow").replace("postgresql://", "postgresql+psycopg2://", 1)


def _connections(site: Site) -> dict[str, dict[str, object]]:
    connections: dict[str, dict[str, object]] = {
        "wellbe_keyring": {"conn_type": "generic", "extra": {"path": str(site.keyring_path)}},
        "wellbe_keys": {"conn_type": "generic", "extra": {"path": str(site.key_store_path)}},
        "wellbe_run_log_signers": {"conn_type": "generic", "extra": {"path": str(site.signers_path)}},
        "wellbe_delivery_identity": {"conn_type": "generic", "extra": {"path": str(site.identity_path)}},
        "wellbe_checkpoints": {"conn_type": "generic", "extra": {"path": str(site.checkpoints_path)}},
        "wellbe_certificates": {"conn_type": "generic", "extra": {"path": str(site.certificates_path)}},
        "wellbe_outboxes": {"conn_type": "generic", "extra": {"path": str(site.outbox_secrets_path)}},
        "wellbe_policy": {"conn_type": "generic", "extra": {"path": str(site.policy_path)}},
    }
    for name, role in _CONNECTIONS.items():
        login = LOGINS[role]
        connections[name] = {
            "conn_type": "postgres",
            "host": ADDRESS,
            "port": site.port(login.cluster),
            "schema": login.database,
            "login": login.user,
            "password": site.passwords[role],
        }
    return connections


def _as_text(settings: dict[str, dict[str, str]]) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    # Airflow interpolates what it reads, so a percent sign is written twice.
    parser.read_dict({s: {k: v.replace("%", "%%") for k, v in values.items()} for s, values in settings.items()})
    text = io.StringIO()
    parser.write(text)
    return "# Written by governance at every start; do not edit.\n" + text.getvalue()
