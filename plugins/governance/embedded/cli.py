"""The commands of the embedded site: up, down, status, airflow, psql, dsn."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from governance.embedded import site as sites

# psutil and psycopg2 are imported where they are used, so that `governance dsn` answers at once.
if TYPE_CHECKING:
    from governance.embedded.control import Part

_AIRFLOW_USAGE = "governance airflow [arguments of airflow ...]"
_PSQL_USAGE = "governance psql --role {" + ",".join(sites.ROLES_FOR_PEOPLE) + "} [arguments of psql ...]"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `run`, a function from the parsed arguments to an exit code."""
    up = subparsers.add_parser("up", help="start the clusters and Airflow, and wait until they are healthy")
    up.add_argument(
        "--executor",
        choices=sites.EXECUTORS,
        help="where tasks run: below the scheduler (local, at first) or on two of Celery's workers; kept for next time",
    )
    up.set_defaults(run=_up)
    subparsers.add_parser("down", help="stop everything that belongs to this checkout").set_defaults(run=_down)
    subparsers.add_parser("status", help="what runs, where, and how much memory it uses").set_defaults(run=_status)

    dsn = subparsers.add_parser("dsn", help="print the libpq URI of a role, password included")
    dsn.add_argument("--role", required=True, choices=sites.ROLES_FOR_PEOPLE)
    dsn.set_defaults(run=_dsn)

    # These two pass everything on, so to their parsers nothing may look like an option: no argument holds a NUL.
    for name, run, text, usage in (
        (
            "airflow",
            _airflow,
            "Airflow's own command line, on this site",
            "governance airflow [arguments of airflow ...]",
        ),
        ("psql", _psql, "the bundled psql, logged in as a role", _PSQL_USAGE),
    ):
        parser = subparsers.add_parser(name, help=text, usage=usage, prefix_chars="\0", add_help=False)
        parser.add_argument("arguments", nargs=argparse.REMAINDER)
        parser.set_defaults(run=run)


def say(line: str) -> None:
    """Print a line of progress, at once also into a pipe."""
    print(line, flush=True)  # noqa: T201


def _up(arguments: argparse.Namespace) -> int:
    from governance.embedded import control

    began = time.monotonic()
    control.up(say=say, executor=arguments.executor)
    say(f"({time.monotonic() - began:.0f} s; `governance status` shows it, `governance down` stops it)")
    return 0


def _down(_: argparse.Namespace) -> int:
    from governance.embedded import control

    control.down(say=say)
    return 0


def _status(_: argparse.Namespace) -> int:
    from governance.embedded import control

    site = sites.load()
    parts = control.status(site)
    say(f"{'PART':<20}{'PID':>8}  {'ADDRESS':<24}{'PSS MB':>8}{'RSS MB':>8}  UP")
    for part in parts:
        say(_line(part))
    total = control.total_memory(site)
    say(f"{'all processes':<20}{'':>8}  {'':<24}{total.pss_bytes / 1e6:>8.0f}{total.rss_bytes / 1e6:>8.0f}")
    if all(part.is_running for part in parts):
        say(f"Airflow's UI: {site.api_url}  user {sites.UI_USER}  password {site.ui_password}")
        return 0
    return 3  # as init scripts answer for what is not running


def _line(part: Part) -> str:
    if not part.is_running:
        return f"{part.name:<20}{'-':>8}  {part.address:<24}{'':>16}  down"
    minutes, seconds = divmod(int(part.uptime_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    used = part.memory
    sizes = f"{used.pss_bytes / 1e6:>8.0f}{used.rss_bytes / 1e6:>8.0f}"
    return f"{part.name:<20}{part.pid:>8}  {part.address:<24}{sizes}  {hours}:{minutes:02}:{seconds:02}"


def _dsn(arguments: argparse.Namespace) -> int:
    say(sites.load().dsn(arguments.role))
    return 0


def _psql(arguments: argparse.Namespace) -> NoReturn:
    from governance.embedded import postgres

    parser = argparse.ArgumentParser(prog="governance psql", usage=_PSQL_USAGE, allow_abbrev=False)
    parser.add_argument("--role", required=True, choices=sites.ROLES_FOR_PEOPLE)
    ours, for_psql = parser.parse_known_args(arguments.arguments)
    site = sites.load()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    program = str(postgres.program("psql"))
    _become([program, *for_psql], {**own, **site.libpq_environment(ours.role)})


def _airflow(arguments: argparse.Namespace) -> NoReturn:
    from governance.embedded import airflow, airflow_config

    site = sites.load()
    airflow_config.write(site)
    _become(airflow.command(*arguments.arguments), airflow_config.environment(site))


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Turn this process into another program, so that its exit code, signals and terminal are the user's."""
    sys.stdout.flush()
    os.execve(command[0], command, environment)  # noqa: S606
