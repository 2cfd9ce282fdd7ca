"""The DAG that shares, under a live scheduler, with a clinic on an SFTP server and an agency on object storage: what
README tells to put into the site's private folder is all that it needs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

import recipients
from aftermath import through
from governance.commands.reading import rows
from governance.embedded import airflow_config, workspaces
from governance.embedded.site import Site
from governance.sharing import demo_certificates
from governance.sharing.certificate_folder import CertificateFolder
from governance.sharing.outbox import ACKNOWLEDGEMENT, MANIFEST
from live_runs import attempts, ended, fill, run_airflow, trigger, until
from object_server import BUCKET, ObjectServer, object_server
from ssh_server import SshServer, ssh_server

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow, pytest.mark.clause("F1"), pytest.mark.clause("J1")]

DAG = "provider_deliveries"
PROVIDERS = {"shore_clinic": "health", "shore_agency": "travel", "shore_hotel": "travel"}


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with ssh_server() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("objects")) as store:
        yield store


@pytest.fixture(scope="module")
def shore(live: Site, server: SshServer, store: ObjectServer) -> Iterator[Site]:
    """The site, on which both are registered as the busiest providers of their kind that are not, and a day that was
    accepted."""
    if not rows(live.dsn("governance_owner"), "SELECT 1 FROM vault.bookings LIMIT 1"):
        days = fill(live, 1, bookings=300, visits=300)
        through(workspaces.workspace(live), "bookings", days[-1].isoformat())
    before = live.policy_path.read_text("utf-8")
    register(live, "shore_clinic", server.url, server.private)
    register(live, "shore_agency", store.url, store.private)
    run_airflow(live, "dags", "unpause", "--yes", DAG)
    yield live
    live.policy_path.write_text(before, "utf-8")


def register(site: Site, name: str, url: str, private: Path) -> None:
    """Register the busiest provider of a kind that is not yet, by this name, and all that its deliveries need."""
    document = yaml.safe_load(site.policy_path.read_text("utf-8"))
    kind, known, today = PROVIDERS[name], document.setdefault("recipients", {}), datetime.now(UTC).date()
    entry = recipients.registered(Path("/"), 1 + (kind == "travel"), endpoint=url).model_dump()
    agreed = {"agreed_from": today - timedelta(days=1), "agreed_until": today + timedelta(days=30), "options": []}
    provider = busiest(site, kind, [one["provider_id"] for one in known.values()])
    known[name] = entry | agreed | {"provider_id": provider}
    shutil.copytree(private, site.outbox_secrets_path / name)
    certificate, _ = demo_certificates.made(name, datetime.now(UTC))
    CertificateFolder(site.certificates_path).add(name, certificate, datetime.now(UTC))
    site.policy_path.write_text(yaml.safe_dump(document), "utf-8")


def busiest(site: Site, kind: str, taken: list[int]) -> int:
    """The provider of a kind with the most services that are still to come, beside those that are registered."""
    query = (
        "SELECT provider_id FROM wellbe.booking_services WHERE kind = %s AND provider_id <> ALL(%s) "
        "AND starts_on > current_date GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
    )
    ((provider,),) = rows(site.dsn("wellbe_owner"), query, (kind, taken))
    return int(provider)


def run(site: Site, run_id: str) -> str:
    """Trigger the DAG, as the UI does; how it ended."""
    trigger(site, DAG, run_id)
    until(ended(site, run_id), 240)
    ((state,),) = rows(site.dsn("airflow"), "SELECT state FROM dag_run WHERE run_id = %s", (run_id,))
    return str(state)


def there(server: SshServer, store: ObjectServer) -> tuple[set[str], set[str]]:
    """Deliveries on the server, and in the bucket."""
    whole = {path.parent.name for path in server.inbox.glob(f"*/{MANIFEST}")}
    return whole, {name.partition("/")[0] for name in store.names() if name.endswith(f"/{MANIFEST}")}


def test_a_run_delivers_by_sftp_and_into_a_bucket_once_and_what_is_acknowledged_there_is_closed(
    shore: Site, server: SshServer, store: ObjectServer
) -> None:
    assert run(shore, "by-sftp-and-s3") == "success"
    on_server, in_bucket = there(server, store)
    assert (len(on_server), len(in_bucket)) == (1, 1)
    # By whichever run: the one of the last hour, which a site begins with, may have been there first.
    delivered = [t.entry["details"] for t in attempts(shore) if t.event == "deliver"]
    ours = {told["recipient"]: told["delivery"] for told in delivered if told["recipient"] in PROVIDERS}
    assert (ours["shore_clinic"], ours["shore_agency"]) == (*on_server, *in_bucket)
    recipients.acknowledge(server.inbox)
    (manifest,) = (content for name, content in store.names().items() if name.endswith(f"/{MANIFEST}"))
    store.write(f"{next(iter(in_bucket))}{ACKNOWLEDGEMENT}", hashlib.sha256(manifest).hexdigest().encode())
    assert run(shore, "acknowledged-there") == "success"
    assert there(server, store) == (on_server, in_bucket)
    open_ = (
        "SELECT count(*) FILTER (WHERE acknowledged_at IS NULL), count(*) FROM sharing.deliveries "
        "WHERE recipient_id = ANY(%s)"
    )
    assert rows(shore.dsn("governance_owner"), open_, ([*ours],)) == [(0, 2)]


def test_a_server_that_is_down_is_tried_again_by_the_task_and_its_message_has_no_address(
    shore: Site, server: SshServer, store: ObjectServer
) -> None:
    server.stop()
    trigger(shore, DAG, "while-it-is-down")
    failed = "SELECT count(*) FROM task_instance WHERE run_id = %s AND state = 'up_for_retry'"
    until(lambda: rows(shore.dsn("airflow"), failed, ("while-it-is-down",)) == [(1,)], 180)
    server.start()
    until(ended(shore, "while-it-is-down"), 240)
    tries = [t for t in attempts(shore) if t.event == "share" and t.run["run_id"] == "while-it-is-down"]
    of_clinic = [t for t in tries if t.entry["details"]["recipient"] == "shore_clinic"]
    assert [(t.outcome, t.run["try_number"]) for t in of_clinic] == [("failed", 1), ("no_data", 2)]
    assert of_clinic[0].entry["error"]["type"] == "EndpointUnavailableError"
    assert "127.0.0.1" not in str(of_clinic[0].entry)


SHARE = """
import json, sys
from airflow.sdk import ObjectStoragePath
from governance import connections, steps
from governance.embedded import workspaces
asked = set()
def notice(frame, event, _):
    if event == "call" and frame.f_code is ObjectStoragePath.fs.fget.__code__:
        asked.add(frame.f_locals["self"].path)
sys.setprofile(notice)
space = connections.workspace()
steps.share(space, space.newest_partition(), workspaces.by_hand("share"))
sys.setprofile(None)
print(json.dumps(sorted(asked)))
"""
"""What the task does, watched by the interpreter: of which ObjectStoragePaths somebody took the file system."""


def test_every_object_of_a_delivery_was_asked_of_airflows_object_storage_path(shore: Site, store: ObjectServer) -> None:
    register(shore, "shore_hotel", f"s3://{BUCKET}/hotel", store.private)
    done = subprocess.run(
        [sys.executable, "-c", SHARE],
        env=airflow_config.environment(shore),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    delivered = [f"{BUCKET}/hotel/{name}" for name in store.names("hotel/")]
    assert len([path for path in delivered if path.endswith(f"/{MANIFEST}")]) == 1
    assert len(delivered) >= 3
    assert set(delivered) <= set(json.loads(done.stdout.splitlines()[-1]))
