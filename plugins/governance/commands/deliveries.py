"""`governance deliveries`: the identity that signs deliveries, for recipients to pin; verify a manifest."""

from __future__ import annotations

import argparse
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from governance.embedded import site as sites
from governance.embedded.cli import say
from governance.errors import InputError, ManifestError


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("deliveries", help="the identity that signs deliveries; verify a manifest")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    shown = actions.add_parser("identity", help="the certificate that recipients pin, and its fingerprint")
    shown.add_argument(
        "--pem", action="store_true", help="every certificate that ever signed, in PEM, and no word more"
    )
    shown.set_defaults(run=_identity)
    actions.add_parser(
        "renew", help="make the identity that is to follow, for recipients to pin; it signs nothing yet"
    ).set_defaults(run=_renew)
    actions.add_parser(
        "switch", help="sign with the identity that was made last; the key of the one before is destroyed"
    ).set_defaults(run=_switch)
    create = actions.add_parser("create", help="make an identity in a new file, for a new installation")
    create.add_argument("file", metavar="FILE", type=Path)
    create.set_defaults(run=_create)
    verify = actions.add_parser("verify", help="compare a manifest with its signature, beside it, and a certificate")
    verify.add_argument("manifest", metavar="MANIFEST", type=Path)
    verify.add_argument(
        "--certificate", metavar="FILE", type=Path, help="the one that you pinned, instead of this site's"
    )
    verify.set_defaults(run=_verify)


def _identity(arguments: argparse.Namespace) -> int:
    from governance.sharing.identities import Identities, identity_page

    identities = Identities.load(sites.load().identity_path)
    say("".join(identities.certificates).rstrip() if arguments.pem else identity_page(identities).rstrip())
    return 0


def _renew(_: argparse.Namespace) -> int:
    from governance import steps
    from governance.embedded import workspaces
    from governance.sharing.identities import identity_page

    site = sites.load()
    run = workspaces.by_hand("deliveries renew")
    say(identity_page(steps.renew_identity(workspaces.workspace(site), site.identity_path, run)))
    say("send every recipient the second one; when all have pinned it: `governance deliveries switch`")
    return 0


def _switch(_: argparse.Namespace) -> int:
    from governance import steps
    from governance.embedded import workspaces
    from governance.sharing.identities import identity_page

    site = sites.load()
    run = workspaces.by_hand("deliveries switch")
    say(identity_page(steps.switch_identity(workspaces.workspace(site), site.identity_path, run)).rstrip())
    return 0


def _create(arguments: argparse.Namespace) -> int:
    from governance import policy
    from governance.sharing.identities import Identities, identity_page

    valid_days = policy.load().sharing.identity_days
    say(identity_page(Identities.create(arguments.file, datetime.now(UTC), valid_days)).rstrip())
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from governance.sharing import certificates, cms
    from governance.sharing.identities import Identities
    from governance.sharing.manifests import parse

    text, signature = _bytes(arguments.manifest), _bytes(arguments.manifest.with_name(f"{arguments.manifest.name}.p7s"))
    manifest = parse(text)
    if arguments.certificate is None:
        pinned = Identities.load(sites.load().identity_path).certificate_of(manifest.signer_fingerprint)
    else:
        pinned = _bytes(arguments.certificate).decode("utf-8", "replace")
    cms.verify(text, signature, pinned)
    found = certificates.read(pinned)
    if found is None or certificates.fingerprint(found) != manifest.signer_fingerprint:
        raise ManifestError("the manifest names another signer than the certificate that its signature verifies under")
    say(
        f"{manifest.delivery_id}: {manifest.kind} for {manifest.recipient}, {manifest.rows:,} rows; the signature holds"
    )
    wrong = 0
    for part in manifest.parts:
        is_as_said = _digest(arguments.manifest.with_name(part.name)) == part.sha256
        say(f"{part.name}: {'as the manifest says' if is_as_said else 'NOT what the manifest says'}")
        wrong += not is_as_said
    return 1 if wrong else 0


def _digest(path: Path) -> str | None:
    """SHA-256 of a file in hex; None for one that is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); name the manifest, with its signature beside it"
        ) from None
