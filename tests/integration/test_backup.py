"""Everything is lost but the two folders of a backup: the site is what it was, and what was destroyed is not back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import boundaries
import builders
import certificate_files
from aftermath import entries, governance, through
from boundaries import Killed
from builders import DAY, World
from governance import steps
from governance.embedded import airflow, airflow_config, backup, control
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.errors import InputError, SiteError
from governance.sharing.certificate_folder import CertificateFolder, Kept
from run_logs import Auditor, own_look

pytestmark = [pytest.mark.pg, pytest.mark.clause("J1"), pytest.mark.clause("R1"), pytest.mark.slow]

KEY = DAY.isoformat()


@dataclass
class Lost:
    """A site that was made anew, and what was known of it before."""

    site: Site
    counts: dict[str, int]
    auditor: Auditor
    erased: tuple[str, str]  # before the backup, and after it
    folders: tuple[Path, Path]
    certificates: tuple[Kept, ...]


RESTORING = ("governance.dump", ".keys.sqlite.draft")
"""Where a restore is killed before it is given again."""
TABLES = ("vault.bookings", "vault.page_views", "analytics.bookings", "analytics.visits_regions", "analytics.releases",
          "analytics.privacy_budget", "audit.exact_counts", "audit.leaves", "control.batches")  # fmt: skip


def counted(site: Site) -> dict[str, int]:
    return {table: builders.read(site, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    home = tmp_path_factory.mktemp("backup")
    site = control.clusters_up(home / "site")
    try:
        airflow_config.write(site)
        airflow.migrate(site)
        world = World(site.dsn("wellbe_owner"))
        world.clear()
        world.crowd()
        world.visitors()
        clients = [f"client {client}" for (client,) in builders.read(
            site, "SELECT client_id FROM wellbe.bookings ORDER BY 1 LIMIT 2", role="wellbe_owner")]  # fmt: skip
        world.close()
        space = builders.workspace(site)
        for dataset in ("bookings", "visits"):
            through(space, dataset, KEY)
        steps.destroy_key(space, "subject", clients[0], "request 1", builders.run())
        steps.checkpoint(space, builders.run())
        auditor = Auditor(site, home / "auditor")
        auditor.meet()
        certificates = CertificateFolder(site.certificates_path)
        made = certificates.add("clinic", certificate_files.pem(0), builders.NOW).certificate
        certificates.put_demo_key("clinic", made.fingerprint, certificate_files.private_pem(0))
        certificates.revoke("clinic", None, builders.NOW, "request 3")
        certificates.rotate("clinic", certificate_files.pem(1), builders.NOW)
        kept = certificates.kept("clinic")
        counts = counted(site)
        backup.back_up(site, home / "stored", home / "secrets")
        steps.destroy_key(space, "subject", clients[1], "request 2", builders.run())
        control.down(site.data_dir)
        shutil.rmtree(site.data_dir)
        shutil.rmtree(site.checkpoints_path)
        for point in RESTORING:
            ended = boundaries.run(lambda: backup.restore(home / "stored", home / "secrets", home / "site"), point)
            assert isinstance(ended, Killed)
            with pytest.raises(SiteError, match="a restore that was broken off has left"):  # no empty site in its place
                control.clusters_up(home / "site")
        anew = backup.restore(home / "stored", home / "secrets", home / "site")
        control.clusters_up(anew.data_dir)
        folders = (home / "stored", home / "secrets")
        yield Lost(anew, counts, auditor, (clients[0], clients[1]), folders, kept)
    finally:
        control.down(home / "site")


def test_every_row_is_there(lost: Lost) -> None:
    assert counted(lost.site) == lost.counts
    assert min(lost.counts.values()) > 0, lost.counts


def test_the_values_can_be_read_and_the_pipelines_go_on(lost: Lost) -> None:
    space = builders.workspace(lost.site)
    batch = through(space, "bookings", KEY)
    assert batch.counts["published"] > 0
    assert entries(lost.site, "publish", "outcome")[-1]["outcome"] == "replayed"


@pytest.mark.clause("E1")
def test_a_day_that_may_have_been_published_after_the_backup_is_counted_for_nobody(lost: Lost) -> None:
    after = (DAY + timedelta(days=1)).isoformat()
    with closing(World(lost.site.dsn("wellbe_owner"))) as world:
        world.day += timedelta(days=1)
        world.visitors()
    through(builders.workspace(lost.site, now=builders.NOW + timedelta(days=1)), "visits", after)
    spent = "SELECT count(*) FROM analytics.privacy_budget WHERE recorded_date = %s"
    assert builders.read(lost.site, spent, after) == [(4,)]
    for table in ("visits_search_to_booking", "inquiries_funnel", "visits_regions"):
        query = f"SELECT DISTINCT recorded_date FROM analytics.{table}"
        assert builders.read(lost.site, query, role="analyst") == [(DAY,)]


def test_what_was_destroyed_before_the_backup_is_gone_and_what_lived_in_it_is_back(lost: Lost) -> None:
    space = builders.workspace(lost.site)
    with closing(space.keys()) as service:
        before, after = (service.store.fetch([service.id_of("subject", scope)]) for scope in lost.erased)
    assert [key.is_destroyed for key in before.values()] == [True]
    # Nobody can know of an erasure whose record is lost with the rest: it is asked for again.
    assert [key.is_destroyed for key in after.values()] == [False]


def test_the_log_is_what_the_auditors_checkpoint_says_and_goes_on(lost: Lost) -> None:
    steps.checkpoint(builders.workspace(lost.site), builders.run())
    assert own_look(lost.site).problems == ()
    lost.auditor.pull()
    assert lost.auditor.verifies(), lost.auditor.said


def test_the_backup_is_on_the_record_and_so_are_its_connections(lost: Lost) -> None:
    ((login,),) = builders.read(
        lost.site,
        "SELECT DISTINCT s.database_login FROM audit.sessions s "
        "JOIN audit.run_log r ON r.attempt_id = s.application_name WHERE r.event = 'backup'",
    )
    assert login == "postgres"


def test_every_connection_of_the_superuser_belongs_to_an_entry_after_a_restore_too(lost: Lost) -> None:
    assert builders.read(
        lost.site,
        "SELECT s.application_name FROM audit.sessions s WHERE s.database_login = 'postgres' "
        "AND NOT EXISTS (SELECT FROM audit.run_log r WHERE r.attempt_id = s.application_name)",
    ) == []  # fmt: skip


def test_airflows_own_tables_are_there(lost: Lost) -> None:
    assert builders.read(lost.site, "SELECT count(*) FROM alembic_version", role="airflow") == [(1,)]


@pytest.mark.clause("F1")
def test_recipients_have_their_certificates_again_and_what_was_revoked_stays_so(lost: Lost) -> None:
    found = CertificateFolder(lost.site.certificates_path)
    assert found.kept("clinic") == lost.certificates
    assert [kept.certificate.revoked_at for kept in lost.certificates] == [builders.NOW, None]


def test_what_is_stored_opens_nothing_by_itself(lost: Lost) -> None:
    stored, secrets = lost.folders
    passwords = [p for p in sites.load(lost.site.data_dir).passwords.values()]
    content = b"".join(path.read_bytes() for path in stored.rglob("*") if path.is_file())
    assert not [password for password in passwords if password.encode() in content]
    assert b"PRIVATE KEY" not in content
    assert {path.name for path in secrets.iterdir()} == {*backup.SECRETS, backup.SUMS}
    for folder in lost.folders:
        assert folder.stat().st_mode & 0o777 == 0o700
        subprocess.run(["sha256sum", "--check", "--quiet", backup.SUMS], cwd=folder, check=True)


def test_a_backup_is_put_back_where_there_is_nothing_and_only_whole(lost: Lost, tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="holds a site already"):
        backup.restore(*lost.folders, lost.site.data_dir)
    with pytest.raises(InputError, match="is no backup"):
        backup.restore(tmp_path, lost.folders[1], tmp_path / "new")
    damaged = tmp_path / "damaged"
    shutil.copytree(lost.folders[0], damaged)
    (damaged / "keys.sqlite").write_bytes(b"x")
    (damaged / "airflow.dump").unlink()
    with pytest.raises(InputError, match=r"airflow\.dump, keys\.sqlite missing or not as written"):
        backup.restore(damaged, lost.folders[1], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("point", ["airflow.dump", ".keys.sqlite.draft", "keyring.json", "SHA256SUMS", "secrets/.SHA"])
def test_a_backup_that_was_killed_is_not_taken_for_a_whole_one(lost: Lost, tmp_path: Path, point: str) -> None:
    folders = (tmp_path / "stored", tmp_path / "secrets")
    assert isinstance(boundaries.run(lambda: backup.back_up(lost.site, *folders), point), Killed)
    with pytest.raises(InputError, match="is no backup"):
        backup.restore(*folders, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (told, *_) = reversed([e for e in entries(lost.site, "backup")])
    assert told["phase"] == "intent"  # `governance runs` shows it without an outcome


@pytest.mark.parametrize("folders", [("full", "new"), ("new", "full"), ("new", "new")])
def test_a_backup_replaces_nothing(lost: Lost, tmp_path: Path, folders: tuple[str, str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="is not empty|name two folders"):
        backup.back_up(lost.site, *(tmp_path / name for name in folders))
    assert (tmp_path / "full" / "file").exists()


def test_a_backup_from_before_there_was_an_identity_is_put_back_without_one(lost: Lost, tmp_path: Path) -> None:
    older, data_dir = tmp_path / "older", tmp_path / "data"
    data_dir.mkdir()
    shutil.copytree(lost.folders[1], older)
    identity = (older / "delivery_identity.pem").read_text()
    (older / "delivery_identity.pem").unlink()
    backup.put_back_secrets(older, data_dir)
    assert {path.name for path in data_dir.iterdir()} == {*backup.SECRETS} - {"delivery_identity.pem"}
    assert (lost.site.data_dir / "delivery_identity.pem").read_text() == identity
    (older / "keyring.json").unlink()
    shutil.rmtree(data_dir)
    data_dir.mkdir()
    with pytest.raises(FileNotFoundError):
        backup.put_back_secrets(older, data_dir)


NESTED = {  # the backup's folder, that of its secrets
    "secrets in the backup": ("backup", "backup/secrets"),
    "the backup in its secrets": ("secrets/backup", "secrets"),
    "secrets where the auditor reads": ("backup", "{checkpoints}/secrets"),
    "the backup in what it saves": ("{checkpoints}/backup", "secrets"),
    "the backup in the site": ("{data}/backup", "secrets"),
    "the site itself": ("{data}", "secrets"),
}


@pytest.mark.parametrize("nested", NESTED)
def test_a_backup_lies_neither_beside_its_secrets_nor_in_the_site(lost: Lost, tmp_path: Path, nested: str) -> None:
    places = {"checkpoints": lost.site.checkpoints_path, "data": lost.site.data_dir}
    folder, secrets = (tmp_path / name.format(**places) for name in NESTED[nested])
    with pytest.raises(InputError, match="neither inside the other|which is to be saved"):
        backup.back_up(lost.site, folder, secrets)
    made = [path for path in (folder, secrets) if path.exists() and path not in places.values()]
    assert made == []


def test_the_commands_say_what_to_keep_apart_and_until_when(
    lost: Lost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sites, "default_data_dir", lambda: lost.site.data_dir)
    assert governance("backup", str(tmp_path / "a"), "--secrets", str(tmp_path / "b")) == 0
    said = capsys.readouterr().out
    assert "keep them apart" in said
    assert "the keys in it expire 20" in said
    assert governance("restore", str(tmp_path / "a"), "--secrets", str(tmp_path / "b")) == 1
    assert "holds a site already" in capsys.readouterr().err
