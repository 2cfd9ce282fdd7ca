"""Two recipients for a demo: the clinic and the travel agency that most canaries book with, as far as law lets freely.

What is here belongs to recipients, in whose place the demo acts: outboxes, and the keys of their certificates. Its
people are synthetic; on real input nobody is registered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from governance import steps
from governance.commands.reading import rows
from governance.embedded import demo_input, workspaces
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.errors import SiteError
from governance.policy import Policy
from governance.sample import canaries
from governance.sharing import demo_certificates, endpoints, folders
from governance.sharing.allowances import KindName
from governance.sharing.certificate_folder import KEY_SUFFIX
from governance.steps import CertificateChange, Workspace

KINDS: Mapping[str, KindName] = MappingProxyType({"demo_clinic": "health_provider", "demo_agency": "travel_provider"})
"""The recipients of a demo, by id."""
CONTRACT = "1.0.0"
AGREED = timedelta(days=365)

_BUSIEST = """
SELECT p.provider_id, p.name, p.country_code
FROM wellbe.booking_services s JOIN wellbe.providers p USING (provider_id)
WHERE s.booking_id = ANY(%s) AND s.kind = %s AND p.country_code = ANY(%s) AND p.provider_id <> ALL(%s)
GROUP BY 1, 2, 3 ORDER BY count(*) DESC, 1 LIMIT 1
"""


def register(site: Site, days: Sequence[date]) -> None:
    """Register both in the site's file where they are not yet, each with an outbox and a certificate.

    What the file says else stays. Raises SiteError when no provider of the source will do.
    """
    policy = workspaces.workspace(site).policy
    taken = {recipient.provider_id for recipient in policy.all_recipients.values()}
    entries = {
        name: _entry(site, name, _provider(site, policy, kind, days, taken), days)
        for name, kind in KINDS.items()
        if name not in policy.all_recipients
    }
    for name in KINDS:
        if not (folder_of(site, name) / folders.MARKER).exists():
            sites.private_folder(folder_of(site, name))
            folders.prepare(folder_of(site, name), name)
    if entries:
        demo_input.amend_site_policy(site, {"recipients": entries})
    space = workspaces.workspace(site)
    for name in KINDS:
        _certify(site, space, name)


def can_be(site: Site) -> bool:
    """Whether the place for outboxes can be an endpoint: hidden folders and unusual signs cannot."""
    return not any(endpoints.problem(folder_of(site, name).as_uri()) for name in KINDS)


def folder_of(site: Site, name: str) -> Path:
    """The outbox of a recipient of the demo: beside the site's folder, for it is not ours, and no hidden one."""
    return site.data_dir.with_name(f"{site.data_dir.name.lstrip('.')}-outboxes") / name


def key_of(site: Site, name: str, fingerprint: str) -> Path:
    """The private key of a certificate of the demo."""
    return site.certificates_path / name / f"{fingerprint}{KEY_SUFFIX}"


def _provider(
    site: Site, policy: Policy, kind: KindName, days: Sequence[date], taken: Collection[int]
) -> tuple[int, str, str]:
    """Id, name and country of the provider of a kind that most canaries book with, where no transfer needs a basis."""
    bookings = [booking for day in days for booking in canaries.bookings(day)]
    chosen = (bookings, policy.sharing.kinds[kind].provider, list(policy.sharing.transfers.free), list(taken))
    found = rows(site.dsn("wellbe_owner"), _BUSIEST, chosen)
    if not found:
        raise SiteError(f"the sample has no {kind} in the EU or EEA that a canary books with: make it of more days")
    (provider,) = found
    return provider


def _entry(site: Site, name: str, provider: tuple[int, str, str], days: Sequence[date]) -> dict[str, Any]:
    provider_id, called, country = provider
    return {
        "name": called,
        "kind": KINDS[name],
        "provider_id": provider_id,
        "contract": CONTRACT,
        "agreed_from": days[0],
        "agreed_until": days[-1] + AGREED,
        "country_code": country,
        "endpoint": folder_of(site, name).as_uri(),
        "acknowledgement_hours": 48,
    }


def _certify(site: Site, space: Workspace, name: str) -> None:
    """A certificate whose key is here; also where a demo was killed before it kept the key."""
    kept = space.certificates().current(name)
    if kept is not None and key_of(site, name, kept.certificate.fingerprint).exists():
        return
    pem, key = demo_certificates.made(name, space.clock())
    change = CertificateChange("rotate" if kept else "add", name, pem)
    changed = steps.change_certificate(space, change, workspaces.by_hand("demo"))
    space.certificates().put_demo_key(name, changed.certificate.fingerprint, key)
