"""`governance record`: the record of processing activities of GDPR article 30(1), from policy and contracts."""

from __future__ import annotations

import argparse

from governance import policy as policies
from governance import processing_record
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import SiteError
from governance.policy import Policy
from governance.processing_record import Activity
from governance.sharing import contract_files


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    text = "the record of processing activities (GDPR article 30(1)), with this site's recipients"
    parser = subparsers.add_parser("record", help=text, description=text)
    parser.add_argument("--csv", action="store_true", help="as CSV instead of Markdown")
    parser.set_defaults(run=_record)


def record_of(policy: Policy) -> tuple[Activity, ...]:
    """The record of a policy with the newest contracts."""
    return processing_record.activities(policy, [contract_files.newest(kind) for kind in policy.sharing.kinds])


def _record(arguments: argparse.Namespace) -> int:
    try:
        policy = policies.load(site=sites.load().policy_path)
    except SiteError:  # before there is a site: the record of the policy alone
        policy = policies.load()
    record = record_of(policy)
    say((processing_record.as_csv(record) if arguments.csv else processing_record.markdown(record)).rstrip("\n"))
    return 0
