"""`governance quarantine`: which rules held rows back, and running a partition again once their cause is mended."""

from __future__ import annotations

import argparse
import subprocess
from datetime import UTC, datetime

from governance import partitions
from governance.commands.reading import FINDINGS, day, lent, rows
from governance.embedded import airflow, airflow_config
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.embedded.demo_input import DATASETS
from governance.embedded.site import Site
from governance.errors import GovernanceError, PartitionError
from governance.policy import load
from governance.sources import named_query


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("quarantine", help="rows that failed a rule: list them, run their partition again")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="rows per dataset, partition and rule; with --keys the rows' keys")
    listing.add_argument("--dataset", choices=DATASETS, help="only this dataset")
    listing.add_argument("--partition", metavar="YYYY-MM-DD", type=day, help="only this partition")
    listing.add_argument(
        "--keys", action="store_true", help="also the surrogate keys by which the source knows the rows"
    )
    listing.set_defaults(run=_list)
    replay = actions.add_parser(
        "replay", help="pull and validate a partition again; what passes now is published with the next release"
    )
    replay.add_argument("--dataset", choices=DATASETS, required=True)
    replay.add_argument("--partition", metavar="YYYY-MM-DD", required=True, type=day)
    replay.set_defaults(run=_replay)


def _list(arguments: argparse.Namespace) -> int:
    with lent(sites.load(), "quarantine list", "steward", FINDINGS) as query:
        found = query(named_query("quarantined"), (arguments.dataset,) * 2 + (arguments.partition,) * 2)
    keys_title = "  KEYS" if arguments.keys else ""
    say(f"{'DATASET':<9} {'PARTITION':<11} {'RULE':<34} {'TABLE':<19} {'ROWS':>6}{keys_title}")
    for dataset, partition, rule, table, count, keys in found:
        shown = "  " + " ".join(keys) if arguments.keys else ""
        say(f"{dataset:<9} {partition:%Y-%m-%d}  {rule:<34} {table:<19} {count:>6}{shown}")
    if not found:
        say("nothing is in quarantine")
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    site = sites.load()
    key = arguments.partition.isoformat()
    _require_settled(site, arguments.dataset, key)
    command = airflow.command(
        "backfill", "create", "--dag-id", arguments.dataset, "--from-date", key, "--to-date", key,
        "--reprocess-behavior", "completed",
    )  # fmt: skip
    done = subprocess.run(command, env=airflow_config.environment(site), capture_output=True, text=True, check=False)
    if done.returncode and "AlreadyRunningBackfill" in done.stderr + done.stdout:
        raise GovernanceError(f"a backfill of {arguments.dataset} is under way; wait for it, then replay {key}")
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise GovernanceError(f"Airflow would not run {arguments.dataset} {key} again: {' '.join(last)}")
    say(f"{arguments.dataset} {key} runs again; see `governance runs --dataset {arguments.dataset} --partition {key}`")
    return 0


def _require_settled(site: Site, dataset: str, key: str) -> None:
    """Only a partition that has been through validation can be replayed. Raises PartitionError."""
    policy = load(site=site.policy_path)
    partitions.parse(
        key,
        time_zone=policy.time_zone,
        dataset=dataset,
        first=policy.first_partition(dataset),
        now=datetime.now(UTC),
    )
    query = "SELECT state FROM control.batches WHERE dataset = %s AND partition_key = %s"
    if rows(site.dsn("coordinator"), query, (dataset, key)) != [("settled",)]:
        raise PartitionError(
            f"dataset {dataset}, partition {key}: not validated yet, so nothing of it is in quarantine"
        )
