"""What the command line gives to steps that it calls itself: this site's databases and keys, and who called."""

from __future__ import annotations

import os
import pwd
import uuid
from datetime import UTC, datetime

from governance import keys, warehouse
from governance import policy as policies
from governance.embedded.site import Site
from governance.keyring import Keyring
from governance.policy import Policy
from governance.recording import code_digest, new_id
from governance.run_log import BY_HAND, Attempt, Batch, Digests, Entry, Outcome, Run
from governance.sharing.certificate_folder import CertificateFolder
from governance.signers import CheckpointFolder, Signers
from governance.steps import Workspace


def workspace(site: Site, policy: Policy | None = None) -> Workspace:
    """A workspace on a site. Its key store is opened, and found to fit the keyring, when a step asks for keys."""
    loaded = policy or policies.load(site=site.policy_path)
    return Workspace(
        policy=loaded,
        source_uri=lambda: site.dsn("puller"),
        source_retention_dsn=lambda: site.dsn("source_retention"),
        warehouse_dsn=site.dsn,
        keys=lambda: keys.open_service(
            str(site.key_store_path), lambda: Keyring.load(site.keyring_path), loaded, lambda: datetime.now(UTC)
        ),
        clock=lambda: datetime.now(UTC),
        database_clock=lambda: warehouse.clock(site.dsn("coordinator")),
        signers=lambda: Signers.load(site.signers_path),
        checkpoints=lambda: CheckpointFolder(site.checkpoints_path),
        airflow_dsn=lambda: site.dsn("observer"),
        certificates=lambda: CertificateFolder(site.certificates_path),
    )


def by_hand(command: str) -> Run:
    """The run of a command that a person gave."""
    return Run(
        dag_id=BY_HAND,
        run_id=str(uuid.uuid4()),
        task_id=command,
        try_number=1,
        trigger="manual",
        triggered_by=_user(),
    )


def attempt_by_hand(policy: Policy, event: str) -> Attempt:
    """What a command does to the site itself."""
    run = by_hand(event)
    digests = Digests(policy.digest, None, code_digest())
    return Attempt(new_id(), event, Batch("site", "all", run.run_id), run, digests, ("R1",))


def entry_by_hand(policy: Policy, event: str) -> Entry:
    """The entry of what a command did to the site itself."""
    return attempt_by_hand(policy, event).outcome(Outcome.PASSED, entry_id=new_id(), at=datetime.now(UTC))


def _user() -> str:
    """The account that the process runs under: what the environment calls itself, anybody can write."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name
        return f"uid {os.getuid()}"
