"""Whether a recipient may have anything at this moment: register, agreement, contract, transfer, certificate. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from governance.errors import RecipientError
from governance.sharing.allowances import Transfers
from governance.sharing.certificates import Certificate
from governance.sharing.register import Recipient, Recipients


class HaltedBy(StrEnum):
    """Why nothing goes to a recipient, as the run log has it (`halted_by`)."""

    NOT_REGISTERED = "not_registered"
    AGREEMENT_NOT_BEGUN = "agreement_not_begun"
    AGREEMENT_ENDED = "agreement_ended"
    CONTRACT_UNKNOWN = "contract_unknown"
    NO_TRANSFER_BASIS = "no_transfer_basis"
    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_WEAK = "certificate_weak"


class HaltedError(RecipientError):
    """Nothing goes to this recipient now; the others are none of its business."""

    def __init__(self, halted_by: HaltedBy, message: str) -> None:
        self.halted_by = halted_by
        super().__init__(message)


@dataclass(frozen=True)
class Terms:
    """What every recipient is measured by: days of which time zone, transfers, and contract versions by kind."""

    time_zone: str
    transfers: Transfers
    contracts: Mapping[str, Collection[str]]


def standing(
    register: Recipients, name: str, certificate: Certificate | None, terms: Terms, now: datetime
) -> Recipient:
    """The recipient of that id, if it may have something now (GDPR Art. 28(3), 32, 44; H1).

    Raises HaltedError, a RecipientError, for everybody else; it names nobody who is not registered. An agreement holds
    through its last day, a certificate through its last instant.
    """
    recipient = registered(register, name)
    _require_agreement(name, recipient, now.astimezone(ZoneInfo(terms.time_zone)).date())
    if recipient.contract not in terms.contracts.get(recipient.kind, ()):
        raise HaltedError(
            HaltedBy.CONTRACT_UNKNOWN,
            f"recipient {name}: no version {recipient.contract} of the contract {recipient.kind} is kept; nothing is "
            "handed over: correct the register, or put the version back in expectations/contracts/versions/",
        )
    if terms.transfers.needs_basis(recipient.country_code) and recipient.transfer_basis is None:
        raise HaltedError(
            HaltedBy.NO_TRANSFER_BASIS,
            f"recipient {name} is in {recipient.country_code}, a third country, and its entry names no transfer_basis "
            "(GDPR Art. 44); nothing is handed over: one of policies/sharing.yaml has to hold",
        )
    require_certificate(name, certificate, now)
    return recipient


def registered(register: Recipients, name: str) -> Recipient:
    """The recipient of that id. Raises HaltedError when there is none."""
    if name not in register:
        raise HaltedError(
            HaltedBy.NOT_REGISTERED,
            "that recipient is not registered; nothing is handed over: enter it, with its agreement, in "
            "policies/recipients.yaml or the site's file",
        )
    return register[name]


def _require_agreement(name: str, recipient: Recipient, today: date) -> None:
    if today < recipient.agreed_from:
        raise HaltedError(
            HaltedBy.AGREEMENT_NOT_BEGUN,
            f"the agreement with recipient {name} begins on {recipient.agreed_from}; nothing is handed over before",
        )
    if today > recipient.agreed_until:
        raise HaltedError(
            HaltedBy.AGREEMENT_ENDED,
            f"the agreement with recipient {name} ended with {recipient.agreed_until}; nothing is handed over: renew "
            "it in the register",
        )


def require_certificate(name: str, certificate: Certificate | None, now: datetime) -> None:
    """Raise HaltedError unless something may be encrypted to a certificate at an instant."""
    problem = _problem(certificate, now)
    if problem:
        raise HaltedError(problem[0], f"recipient {name}: {problem[1]}; nothing is handed over until it has a good one")


def _problem(certificate: Certificate | None, now: datetime) -> tuple[HaltedBy, str] | None:
    if certificate is None:
        return HaltedBy.CERTIFICATE_MISSING, "there is no certificate: `governance recipients add`"
    if certificate.revoked_at is not None:
        return HaltedBy.CERTIFICATE_REVOKED, f"its certificate was revoked on {certificate.revoked_at:%Y-%m-%d}"
    if now < certificate.not_before:
        return HaltedBy.CERTIFICATE_NOT_YET_VALID, f"its certificate is valid from {_instant(certificate.not_before)}"
    if now > certificate.not_after:
        return HaltedBy.CERTIFICATE_EXPIRED, f"its certificate expired {_instant(certificate.not_after)}"
    if certificate.weakness:
        return HaltedBy.CERTIFICATE_WEAK, f"its certificate is too weak, {certificate.weakness}"
    return None


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
