"""What a demo runs on: a sample or replayed files, in a site that a demo made and may therefore empty."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.embedded.site import Site
from governance.errors import InputError, SiteError

if TYPE_CHECKING:
    from governance.sample.load import Loaded

DATASETS = ("bookings", "visits")
BOOKINGS, VISITS, DAYS, SEED = 15_000, 150_000, 7, 1
MARKER = "demo.json"
MADE = "2"
"""Raised when a site of an earlier demo lacks what a demo shows now; then it starts over."""


def start_over_when_input_changed(folder: Path, arguments: argparse.Namespace) -> bool:
    """A demo on other input begins with an empty site; only a site that a demo made is ever set aside.

    Returns whether it was. Raises SiteError for a site with data that no demo made.
    """
    marker = folder / MARKER
    if marker.exists():
        if json.loads(marker.read_text()) == _input(arguments):
            return False
        say("the input is another one than last time: setting .data aside, which the last demo made, and starting over")
        empty(folder, arguments)
        return True
    if (folder / "source").exists() and _has_data(folder):
        raise SiteError(
            f"{folder} holds data that no demo made; run the demo in another checkout, or `make clean` if nothing in "
            "it is needed"
        )
    _mark(folder, arguments)
    return False


def empty(folder: Path, arguments: argparse.Namespace) -> None:
    """Stop the site and set it aside as `.data.previous`; only for a site that a demo made."""
    from governance.embedded import control

    control.down(folder, say)
    aside = _aside(folder)
    if aside.exists():
        shutil.rmtree(aside)
    folder.rename(aside)
    say(f"what was there is kept as {aside.name}, until the next time")
    _mark(folder, arguments)


def restore(folder: Path) -> None:
    """Take back what `empty` set aside, because the new input cannot be used."""
    from governance.embedded import control

    if _aside(folder).exists():
        control.down(folder, say)
        shutil.rmtree(folder)
        _aside(folder).rename(folder)
        say("the new input cannot be used, so everything is as it was before; `make up` starts it again")


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.previous")


def _mark(folder: Path, arguments: argparse.Namespace) -> None:
    """Note that a demo made this folder, and from which input."""
    sites.private_folder(folder)
    sites.write_private(folder / MARKER, json.dumps(_input(arguments)) + "\n")


def _input(arguments: argparse.Namespace) -> dict[str, str | None]:
    from governance.sample.plan import EDITION

    files = {"bookings": _digest(arguments.bookings), "access_log": _digest(arguments.access_log)}
    return {**files, "edition": str(EDITION), "made": MADE}


def ran_ahead(site: Site, until: date) -> bool:
    """Whether the schedule has published days that a growing sample did not hold yet.

    As when Airflow was left up over midnight.
    """
    from governance.commands.reading import rows

    ((last,),) = rows(site.dsn("wellbe_owner"), "SELECT max(last_day) FROM sample.loads WHERE origin = 'generated'")
    if last is None or last >= until:
        return False
    ((ahead,),) = rows(
        site.dsn("analyst"), "SELECT EXISTS (SELECT FROM analytics.releases WHERE partition_key > %s)", (last,)
    )
    return bool(ahead)


def _has_data(folder: Path) -> bool:
    from governance.commands.reading import rows
    from governance.embedded import control

    site = control.clusters_up(folder, say)
    ((empty,),) = rows(site.dsn("wellbe_owner"), "SELECT NOT EXISTS (SELECT FROM wellbe.bookings)")
    return not empty


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def fill(site: Site, arguments: argparse.Namespace, until: date) -> Loaded:
    """Fill the source, or find it filled. Raises InputError for files that cannot be used; nothing is kept then."""
    now = datetime.now(UTC)
    began = time.monotonic()
    dsn = site.dsn("wellbe_owner")
    if arguments.bookings is None:
        from governance.sample.generator import generate

        say(f"filling the source with a sample: {BOOKINGS} bookings and {VISITS} page views over {DAYS} days")
        loaded = generate(dsn, bookings=BOOKINGS, visits=VISITS, days=DAYS, seed=SEED, until=until, now=now)
    else:
        from governance.sample.importer import import_files

        say(f"replaying {arguments.bookings.name} and {arguments.access_log.name} into the source")
        files = {"bookings_csv": arguments.bookings, "access_log": arguments.access_log}
        loaded = import_files(dsn, **files, seed=SEED, until=until, now=now)
    added = sum(loaded.added.values())
    say(f"  {added} rows in {time.monotonic() - began:.1f} s" if added else "  the source is filled already")
    return loaded


def write_site_policy(site: Site, first: date) -> None:
    """Set from which partition on this site processes its datasets."""
    amend_site_policy(site, {"first_partition": dict.fromkeys(DATASETS, first)})


def amend_site_policy(site: Site, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Set values in mappings of the site's own part of the policy; what else stands there stays. Raises PolicyError."""
    import yaml

    from governance import policy_files

    path = site.policy_path
    known = policy_files.mapping(path.name, path.read_bytes()) if path.exists() else {}
    wanted = known | {name: {**(known.get(name) or {}), **values} for name, values in changes.items()}
    if wanted != known:  # whoever has written comments into it keeps them as long as nothing changes
        text = yaml.safe_dump(wanted, allow_unicode=True, sort_keys=False)
        sites.write_private(path, f"# The site's own part of the policy; see policies/policy.yaml.\n{text}")
