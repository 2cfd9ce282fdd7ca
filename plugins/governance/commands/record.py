"""`governance record`: the record of processing activities of GDPR article 30(1), from policy and contracts."""

from __future__ import annotations

import argparse
from pathlib import Path

from governance import policy as policies
from governance import processing_record, processing_record_pages
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import SiteError
from governance.policy import Policy
from governance.processing_record import Activity
from governance.sharing import contract_files
from governance.sharing.contracts import Contract


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    text = "the record of processing activities (GDPR article 30(1)), with this site's recipients"
    parser = subparsers.add_parser("record", help=text, description=text)
    parser.add_argument("--csv", action="store_true", help="as CSV instead of Markdown")
    parser.add_argument("--without-site", action="store_true", help="of the policy alone, as it stands in docs")
    parser.add_argument("--out", metavar="FILE", type=Path, help="written anew, instead of printed")
    parser.set_defaults(run=_record)


def record_of(policy: Policy) -> tuple[Activity, ...]:
    """The record of a policy, with the newest contracts and those that its recipients have agreed to."""
    return processing_record.activities(policy, in_force(policy))


def in_force(policy: Policy) -> list[Contract]:
    """The newest contract of each kind, and older versions that recipients have agreed to and that are kept."""
    found = {kind: [contract_files.newest(kind)] for kind in policy.sharing.kinds}
    agreed = {(one.kind, one.contract) for one in policy.all_recipients.values()}
    for kind, version in sorted(agreed):
        if version != found[kind][0].version and version in contract_files.versions(kind):
            found[kind].append(contract_files.load(kind, version, policy.sharing))
    return [contract for contracts in found.values() for contract in contracts]


def _policy(without_site: bool) -> Policy:
    if without_site:
        return policies.load()
    try:
        return policies.load(site=sites.load().policy_path)
    except SiteError:  # before there is a site: the record of the policy alone
        return policies.load()


def _record(arguments: argparse.Namespace) -> int:
    record = record_of(_policy(arguments.without_site))
    text = processing_record_pages.as_csv(record) if arguments.csv else processing_record_pages.markdown(record)
    if arguments.out is None:
        say(text.rstrip("\n"))
        return 0
    arguments.out.write_text(text, "utf-8")
    say(f"{len(record)} activities are in {arguments.out}")
    return 0
