"""What Airflow's connections say: the workspace of a task, each part opened when a step asks for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection, get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException

from governance.errors import GovernanceError, PolicyError, PolicyUnreadableError
from governance.run_log import Batch

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from governance.sharing.endpoints import Endpoint


def workspace() -> Any:
    """What a step needs of the world, as connections name it. Raises GovernanceError, PolicyUnreadableError."""
    from governance import keys, steps, warehouse
    from governance.keyring import Keyring
    from governance.sharing import outbox
    from governance.sharing.certificate_folder import CertificateFolder
    from governance.sharing.identities import Identities
    from governance.signers import CheckpointFolder, Signers

    loaded = _policy()
    return steps.Workspace(
        policy=loaded,
        source_uri=lambda: _uri("wellbe_source"),
        source_retention_dsn=lambda: _uri("wellbe_source_retention"),
        warehouse_dsn=lambda role: _warehouse(loaded, role),
        keys=lambda: keys.open_service(_key_store(), lambda: _secret("wellbe_keyring", Keyring), loaded, _now),
        clock=_now,
        database_clock=lambda: warehouse.clock(_warehouse(loaded, "coordinator")),
        signers=lambda: _secret("wellbe_run_log_signers", Signers),
        checkpoints=lambda: CheckpointFolder(Path(_extra("wellbe_checkpoints", "path"))),
        airflow_dsn=lambda: _uri("wellbe_airflow"),
        identity=lambda: _secret("wellbe_delivery_identity", Identities).current,
        certificates=lambda: CertificateFolder(Path(_extra("wellbe_certificates", "path"))),
        outbox=lambda name, url: outbox.opened(
            name, url, Path(_extra("wellbe_outboxes", "path")), at=in_object_storage
        ),
    )


def in_object_storage(endpoint: Endpoint, fs: Any) -> ObjectStoragePath:
    """Where a recipient's outbox in object storage begins.

    Its file system is attached under a name that is no connection, in place of what an earlier call in this process
    attached: Airflow keeps what is attached once, and the key may have changed since.
    """
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach

    name = f"wellbe_outbox_{endpoint.recipient}"
    attach(endpoint.scheme, name).fs = fs
    return ObjectStoragePath(f"{endpoint.scheme}://{endpoint.host}{endpoint.path}", conn_id=name)


def _policy() -> Any:
    from governance import policy

    try:
        return policy.load(site=Path(_extra("wellbe_policy", "path")))
    except PolicyError as error:  # perhaps somebody is saving it just now
        context = get_current_context()
        label = Batch(context["ti"].dag_id, str(context.get("partition_key")), "").label
        raise PolicyUnreadableError(f"{label}: {error}; nothing was done; mend it, the task retries") from None


def _warehouse(policy: Any, role: str) -> str:
    """The address for a role: of its own login, or of the pipelines' login, which takes it."""
    from governance.database import taking

    if login := policy.roles[role].taken_by:
        return taking(_warehouse(policy, login), role)
    return _uri("wellbe_warehouse" if role == "pipeline" else f"wellbe_warehouse_{role}")


def _now() -> datetime:
    return datetime.now(UTC)


def _key_store() -> str:
    """The address of the key store: a path in embedded sites, in production a PostgreSQL of its own."""
    connection = _connection("wellbe_keys")
    return _uri("wellbe_keys") if connection.conn_type == "postgres" else _extra("wellbe_keys", "path")


def _secret(name: str, kind: Any) -> Any:
    """What stands in a file that the connection names, or, from any secrets backend, is its password."""
    text = _connection(name).password
    return kind.parse(text, f"of connection {name}") if text else kind.load(Path(_extra(name, "path")))


def _connection(name: str) -> Any:
    try:
        return Connection.get(name)
    except AirflowNotFoundException:
        raise GovernanceError(f"connection {name} is not defined; add it to Airflow's connections") from None


def _uri(connection: str) -> str:
    uri: str = _connection(connection).get_uri()
    return uri.replace("postgres://", "postgresql://", 1)


def _extra(connection: str, key: str) -> str:
    value = _connection(connection).extra_dejson.get(key)
    if not value:
        raise GovernanceError(f"connection {connection} has no extra {key!r}; set it in Airflow's connections")
    return str(value)
