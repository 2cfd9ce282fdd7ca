"""A backup of everything that a site cannot make anew, and putting it back on an empty one.

Two folders, to be kept apart: what was stored, and what opens it. The first holds our database, Airflow's, the key
store (still wrapped, and worth nothing once the key-encryption key is replaced), the published checkpoints, the
certificates of recipients, and the site's part of the policy; the second the site's passwords, the keyring and the
keys that sign. The source is not ours to keep. Both hold `SHA256SUMS`, which `sha256sum --check` reads.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from governance import key_audit, key_backups, private_files, steps, warehouse
from governance import policy as policies
from governance.embedded import control, postgres, provision, workspaces
from governance.embedded import site as sites
from governance.embedded.airflow import Say
from governance.embedded.site import Site
from governance.errors import InputError, SiteError
from governance.key_store import Destruction
from governance.keyring import Keyring
from governance.recording import new_id
from governance.sharing.certificate_folder import CertificateFolder

SUMS = "SHA256SUMS"
DATABASES: Mapping[str, str] = MappingProxyType({"governance": "governance.dump", "airflow": "airflow.dump"})
KEYS, CHECKPOINTS, CERTIFICATES, POLICY = "keys.sqlite", "checkpoints", "certificates", "policy.yaml"
SECRETS = ("site.json", "keyring.json", "run_log_signers.txt", "delivery_identity.pem")
SINCE = ("delivery_identity.pem",)
"""Secrets that backups of earlier versions of this project do not have."""


def back_up(site: Site, folder: Path, secrets: Path) -> datetime:
    """Write both folders, which must be new or empty; returns when the keys in it expire.

    The run log has it as `backup`: whoever has both folders has everything. Raises InputError, SiteError,
    WarehouseUnavailableError.
    """
    with warehouse.connect(site.dsn("recorder"), "the backup"):
        pass  # before anything is written
    _require_apart(site, folder, secrets)
    for target in (folder, secrets):
        _require_empty(target)
    for target in (folder, secrets):
        sites.private_folder(target)
    policy = policies.load(site=site.policy_path)
    attempt = workspaces.attempt_by_hand(policy, "backup")
    with provision.on_record(site, attempt):
        for database, name in DATABASES.items():
            _run(site, database, attempt.attempt_id, "pg_dump", "--format=custom", f"--file={folder / name}")
        with closing(workspaces.workspace(site, policy).keys()) as service:
            written = key_backups.back_up(service, folder / KEYS)
        shutil.copytree(site.checkpoints_path, folder / CHECKPOINTS, dirs_exist_ok=True)
        CertificateFolder(site.certificates_path).copy_to(folder / CERTIFICATES)
        if site.policy_path.exists():
            shutil.copy(site.policy_path, folder / POLICY)
        for name in SECRETS:
            private_files.write(secrets / name, (site.data_dir / name).read_text("utf-8"), replace=False)
        for target in (folder, secrets):
            private_files.write(target / SUMS, _sums(target), replace=False)
    return written.expires_at


def restore(folder: Path, secrets: Path, data_dir: Path, say: Say = lambda _: None) -> Site:
    """Make the site anew in a folder that holds none; what was destroyed since the backup, as far as its log says, is
    destroyed again. Raises InputError for a backup that is not whole, KeyringError for one that has expired.
    """
    for source in (folder, secrets):
        _verify(source)
    half = data_dir / sites.HALF_RESTORED
    if half.exists():
        say(f"{data_dir} holds what a restore that was broken off has left: starting over")
        control.down(data_dir)
        shutil.rmtree(data_dir)
    if (data_dir / "site.json").exists() or (data_dir / "warehouse").exists():
        raise SiteError(f"{data_dir} holds a site already: `make down`, and set it aside first")
    sites.private_folder(data_dir)
    # First of all, and gone last of all: `up` would make of a half site a new one that is empty.
    private_files.write(half, "", replace=False)
    put_back_secrets(secrets, data_dir)
    if (folder / POLICY).exists():
        shutil.copy(folder / POLICY, data_dir / POLICY)
    if (folder / CERTIFICATES).exists():
        shutil.copytree(folder / CERTIFICATES, data_dir / CERTIFICATES)
    site = control.start_clusters(data_dir, say)
    say("putting the databases back")
    provision.make_login_noter(site)
    for database, name in DATABASES.items():
        _run(site, database, "restore", "pg_restore", "--exit-on-error", f"--dbname={database}", str(folder / name))
    provision.note_restore(site, policies.load(site=site.policy_path))
    shutil.copytree(folder / CHECKPOINTS, site.checkpoints_path, dirs_exist_ok=True, copy_function=_copy_missing)
    say("putting the keys back")
    restore_keys(site, folder / KEYS)
    half.unlink()
    return site


def put_back_secrets(secrets: Path, data_dir: Path) -> None:
    """Every secret that the backup has; of one that its version did not know yet, `up` makes a first one."""
    for name in SECRETS:
        if name not in SINCE or (secrets / name).exists():
            private_files.write(data_dir / name, (secrets / name).read_text("utf-8"), replace=False)


def restore_keys(site: Site, backup: Path) -> tuple[int, int]:
    """Put a backup of the key store back; returns how many keys came back, and how many that the log knew did not."""
    space = workspaces.workspace(site)
    known = key_audit.known_store(space.warehouse_dsn(steps.keeping.ROLE))
    act = Destruction(new_id(), "destroyed before this backup was put back", int(space.clock().timestamp()), False)
    home = key_backups.Home(
        str(site.key_store_path), Keyring.load(site.keyring_path), space.policy, known.store_id if known else None
    )
    count = key_backups.restore(backup, home, destroyed=steps.logged_destructions(space), act=act)
    with closing(space.keys()) as service:
        missing = key_audit.missing(service.store, known)
    steps.keep_keys(space, workspaces.by_hand("keys restore"), is_restored=True)
    return count, missing


def _require_apart(site: Site, folder: Path, secrets: Path) -> None:
    """What opens a backup must not lie in it, nor either of them where the site itself or its auditor reads."""
    one, other = folder.resolve(), secrets.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise InputError(
            "name two folders, neither inside the other: what opens a backup must not lie beside it; nothing was "
            "written"
        )
    for place in (site.data_dir.resolve(), site.checkpoints_path.resolve()):
        for target in (one, other):
            if target == place or place in target.parents:
                raise InputError(f"{target} lies in {place}, which is to be saved; name another; nothing was written")


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: name a new folder; nothing was written")


def _run(site: Site, database: str, name: str, *command: str) -> None:
    """One of Postgres's programs, as superuser; on its connections the name of the entry that it belongs to."""
    environment = {**site.libpq_environment("postgres"), "PGDATABASE": database, "PGAPPNAME": name}
    program, *arguments = command
    done = subprocess.run(
        [str(postgres.program(program)), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        # The program's own words may quote a row.
        raise SiteError(
            f"{program} of database {database} failed (code {done.returncode}); is everything up, and disk free?"
        )


def _sums(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(folder: Path) -> None:
    try:
        expected = (folder / SUMS).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{folder} is no backup: it has no {SUMS}; nothing was changed") from None
    found = set(_sums(folder).splitlines())
    wrong = sorted(line.partition("  ")[2] for line in expected.splitlines() if line not in found)
    if wrong:
        raise InputError(f"{folder}: {', '.join(wrong[:5])} missing or not as written; nothing was changed")


def _copy_missing(source: str, target: str) -> str:
    """A checkpoint that is there already was published later than the backup, or is the same."""
    return target if Path(target).exists() else shutil.copy(source, target)
