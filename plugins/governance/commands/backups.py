"""`governance backup` and `governance restore`: everything that a site cannot make anew, and putting it back."""

from __future__ import annotations

import argparse
from pathlib import Path

from governance.embedded import site as sites
from governance.embedded.cli import say


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    for name, text, run in (
        (
            "backup",
            "write databases, keys and checkpoints to one folder, and what opens them to another",
            _back_up,
        ),
        ("restore", "make the site anew from both folders, where there is none; then `make up`", _restore),
    ):
        parser = subparsers.add_parser(name, help=text)
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="what was stored")
        parser.add_argument(
            "--secrets", metavar="FOLDER", type=Path, required=True, help="passwords and keys; keep it elsewhere"
        )
        parser.set_defaults(run=run)


def _back_up(arguments: argparse.Namespace) -> int:
    from governance.embedded import backup

    expires = backup.back_up(sites.load(), arguments.folder, arguments.secrets)
    say(f"{arguments.folder} and {arguments.secrets}: keep them apart")
    say(f"the keys in it expire {expires:%Y-%m-%d %H:%M} UTC: from then on no personal value in it can be read")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from governance.embedded import backup

    site = backup.restore(arguments.folder, arguments.secrets, sites.default_data_dir(), say)
    say(f"{site.data_dir} is what it was; `make up` starts it. The source is not part of a backup")
    say("where checkpoints are newer than the backup, the log says so: `governance log acknowledge-restore REASON`")
    return 0
