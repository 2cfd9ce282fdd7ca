"""`governance recipients`: who gets bookings, whether anything may go to them now, and their certificates."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from governance.commands.reading import reason
from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import GovernanceError, InputError
from governance.sharing.register import Recipient

# What a step needs takes a second to import; `governance --help` does not wait for it.
if TYPE_CHECKING:
    from governance.sharing.certificate_folder import Changed, Kept
    from governance.steps import CertificateChange, Workspace

LARGEST_FILE = 1_000_000


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    text = "providers that get bookings: their standing, their certificates"
    more = (
        "Who is a recipient, with which agreement, stands in policies/recipients.yaml or the site's file; what these "
        "commands change is certificates alone."
    )
    parser = subparsers.add_parser("recipients", help=text, description=f"{text}. {more}")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    actions.add_parser("list", help="every one: agreement, contract, certificate, standing").set_defaults(run=_list)
    show = _action(actions, "show", "one: its entry in the register, and every certificate it ever had", _show)
    add = _action(actions, "add", "keep the first certificate of somebody who is in the register", _add)
    rotate = _action(
        actions, "rotate", "another certificate instead; deliveries from now on are encrypted to it", _rotate
    )
    for action in (add, rotate):
        given = action.add_mutually_exclusive_group(required=True)
        given.add_argument("file", nargs="?", metavar="FILE.pem", type=Path, help="X.509, RSA of 3072 bits at least")
        given.add_argument("--demo", action="store_true", help="make one, and its key, for synthetic people")
    revoke = _action(
        actions, "revoke", "never encrypt to a certificate again; its recipient halts until it has another", _revoke
    )
    revoke.add_argument(
        "--fingerprint", metavar="DIGITS", type=_digits, help="its first digits; default: the current one"
    )
    revoke.add_argument("--reason", required=True, type=reason, help="stands in the run log")
    _action(actions, "test", "agreement, contract, transfer, certificate and endpoint, each looked at", _test)
    for action in (show, add, rotate, revoke):
        action.epilog = more


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text)
    action.add_argument("recipient", metavar="RECIPIENT", help="its id in the register")
    action.set_defaults(run=run)
    return action


def _digits(text: str) -> str:
    if not text or not set(text.lower()) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a fingerprint is SHA-256 in hexadecimal digits")
    return text.lower()


# -- looking -----------------------------------------------------------------------------------------------------------


def _list(_: argparse.Namespace) -> int:
    space = _workspace()
    register = space.policy.all_recipients
    say(f"{'RECIPIENT':<20} {'KIND':<16} {'CONTRACT':<9} {'AGREED UNTIL':<13} {'CERTIFICATE UNTIL':<18} STANDING")
    for name, recipient in register.items():
        kept = space.certificates().current(name)
        until = f"{kept.certificate.not_after:%Y-%m-%d}{' demo' if kept.certificate.is_demo else ''}" if kept else "-"
        say(
            f"{name:<20} {recipient.kind:<16} {recipient.contract:<9} {recipient.agreed_until:%Y-%m-%d}    {until:<18} "
            f"{_standing(space, name, kept) or 'good'}"
        )
    if not register:
        say("nobody is registered: policies/recipients.yaml says how")
    strays = sorted(set(space.certificates().recipients()) - register.keys())
    if strays:
        say(f"certificates of somebody who is in the register no more: {', '.join(strays)}")
    return 0


def _standing(space: Workspace, name: str, kept: Kept | None) -> str | None:
    """The code of why nothing goes to a recipient now, as the run log has it; None when something may."""
    from governance.sharing.contract_files import terms
    from governance.sharing.recipients import HaltedError, standing

    found = kept.certificate if kept else None
    try:
        standing(space.policy.all_recipients, name, found, terms(space.policy), space.clock())
    except HaltedError as error:
        return error.halted_by.value
    return None


def _show(arguments: argparse.Namespace) -> int:
    space, name, recipient = _registered(arguments)
    for field, value in recipient.model_dump(mode="json").items():
        say(f"{field:<22} {', '.join(value) if isinstance(value, list) else '-' if value is None else value}")
    certificates = space.certificates().kept(name)
    current = next((kept for kept in certificates if kept.is_current), None)
    say(f"{'standing':<22} {_standing(space, name, current) or 'good'}\n")
    for kept in certificates:
        found = kept.certificate
        marks = [mark for mark, holds in (("current", kept.is_current), ("demo", found.is_demo)) if holds]
        if found.revoked_at:
            marks.append(f"revoked {found.revoked_at:%Y-%m-%d %H:%M}: {kept.reason}")
        say(found.fingerprint)
        lasting = f"{found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d}"
        said = [lasting, f"{found.key_type} of {found.key_bits} bits", f"added {kept.added_at:%Y-%m-%d}", *marks]
        say(f"    {', '.join(said)}")
    if not certificates:
        say(f"no certificate yet: `governance recipients add {name} FILE.pem`")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    space, name, recipient = _registered(arguments)
    is_good = True
    for what, problem in _checks(space, name, recipient):
        say(f"{'PROBLEM' if problem else 'ok':<8} {what}{f': {problem}' if problem else ''}")
        is_good = is_good and not problem
    return 0 if is_good else 1


def _checks(space: Workspace, name: str, recipient: Recipient) -> Iterator[tuple[str, str]]:
    """(what was looked at, what is wrong with it)."""
    from governance.sharing import contract_files
    from governance.sharing.recipients import standing

    def contract() -> None:
        contract_files.load(recipient.kind, recipient.contract, space.policy.sharing).travelling(recipient.options)

    def agreement() -> None:
        kept = space.certificates().current(name)
        found = kept.certificate if kept else None
        standing(space.policy.all_recipients, name, found, contract_files.terms(space.policy), space.clock())

    def endpoint() -> None:
        space.outbox(name, recipient.endpoint).probe()

    for what, look in (("contract and options", contract), ("standing", agreement), ("endpoint", endpoint)):
        try:
            look()
        except GovernanceError as error:
            yield what, str(error)
        else:
            yield what, ""


# -- certificates ------------------------------------------------------------------------------------------------------


def _add(arguments: argparse.Namespace) -> int:
    return _put(arguments, "add")


def _rotate(arguments: argparse.Namespace) -> int:
    return _put(arguments, "rotate")


def _put(arguments: argparse.Namespace, act: str) -> int:
    from governance.sharing import demo_certificates
    from governance.steps import CertificateChange

    space, name, _ = _registered(arguments)
    pem, key = demo_certificates.made(name, space.clock()) if arguments.demo else (_content(arguments.file), b"")
    changed = _changed(space, CertificateChange("add" if act == "add" else "rotate", name, pem))
    found = changed.certificate
    since = "" if changed.is_new else ", as it was before: nothing was changed"
    say(f"{name}: deliveries are encrypted to {found.fingerprint} until {found.not_after:%Y-%m-%d}{since}")
    if key:
        path = space.certificates().put_demo_key(name, found.fingerprint, key)
        say(f"DEMO: its private key is {path}")
        say("whoever has that file reads what is delivered, so that no real person's data may go there")
    else:
        say("compare the fingerprint with the recipient over another way, say by telephone, before the first delivery")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from governance.steps import CertificateChange

    space, name, _ = _registered(arguments)
    change = CertificateChange("revoke", name, fingerprint=arguments.fingerprint, reason=arguments.reason)
    changed = _changed(space, change)
    since = "" if changed.is_new else ", as it was before: nothing was changed"
    say(f"{name}: {changed.certificate.fingerprint} is revoked{since}")
    say("what was encrypted to it stays readable to whoever has its key")
    return 0


def _changed(space: Workspace, change: CertificateChange) -> Changed:
    from governance import steps
    from governance.embedded import workspaces

    return steps.change_certificate(space, change, workspaces.by_hand(f"recipients {change.act}"))


def _content(file: Path) -> bytes:
    if file.stat().st_size > LARGEST_FILE:
        raise InputError(f"{file} is larger than {LARGEST_FILE:,} bytes: that is no certificate")
    return file.read_bytes()


def _registered(arguments: argparse.Namespace) -> tuple[Workspace, str, Recipient]:
    """Raises RecipientError for whoever is not in the register."""
    from governance.sharing.recipients import registered

    space = _workspace()
    return space, arguments.recipient, registered(space.policy.all_recipients, arguments.recipient)


def _workspace() -> Workspace:
    from governance.embedded import workspaces

    return workspaces.workspace(sites.load())
