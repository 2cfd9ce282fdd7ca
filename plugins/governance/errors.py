"""The errors of this project: one small tree.

A message names dataset, batch, rule, count and the next step, and never a value from a row. Orchestration maps the two
branches onto Airflow: a `TransientError` is retried, everything else fails at once.
"""

from __future__ import annotations

from collections.abc import Sequence


class GovernanceError(Exception):
    """Root of every error that this project raises on purpose; permanent unless it is a `TransientError`."""

    exit_code = 1


class TransientError(GovernanceError):
    """Something that a later try may find mended: a source that is down, a lock that another run holds."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


def is_lasting(sqlstate: str | None) -> bool:
    """Whether a database's refusal would be the same at the next try: it understood, and refused statement, value or
    right.

    Classes of SQLSTATE: 0A feature not supported, 22 data exception, 42 syntax error or access rule violation.

    >>> is_lasting("42501"), is_lasting("57P01"), is_lasting(None)
    (True, False, False)
    """
    return (sqlstate or "")[:2] in ("0A", "22", "42")


UNREACHED = "cannot be reached or cut the connection"
_REASONS = {
    # SQLSTATE, or what the server says when it refuses a login, of which the drivers keep no SQLSTATE.
    "has no room left on its disk: free some, nothing needs to be repaired": ("53100", "No space left on device"),
    "has no memory left": ("53200",),
    "takes no more connections: end some in pg_stat_activity, or raise its limit or the role's": (
        "53300", "too many clients", "too many connections", "connection slots are reserved",
    ),
    "is starting or stopping": ("57P03", "is starting up", "is shutting down", "in recovery mode"),
    "gave no answer for too long: look in pg_stat_activity what it is doing": ("waited for too long",),
}  # fmt: skip


def trouble(sqlstate: str | None, text: str) -> str:
    """What keeps a server from its work, in words, where its SQLSTATE or text says so; the text itself may quote a row.

    >>> trouble("53100", "could not extend file")
    'has no room left on its disk: free some, nothing needs to be repaired'
    >>> trouble(None, "connection refused")
    'cannot be reached or cut the connection'
    """
    for reason, signs in _REASONS.items():
        if any(sign == sqlstate or (" " in sign and sign in text) for sign in signs):
            return reason
    return UNREACHED


LONGEST_NAME = 80  # characters; a name in PostgreSQL has at most 63 bytes


def shown(name: str, longest: int = LONGEST_NAME) -> str:
    r"""A name that somebody else gave, as a message may hold it: cut when long, and without what a terminal obeys.

    >>> shown("loyalty_tier"), shown("a\x1b[2J\u202eb\n"), len(shown("x" * 10_000))
    ('loyalty_tier', 'a\\x1b[2J\\u202eb\\n', 83)
    """
    cut = name if len(name) <= longest else f"{name[:longest]}..."
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut)


class PolicyError(GovernanceError):
    """The policy files are not valid, or ask for what cannot be."""

    exit_code = 78  # EX_CONFIG


class PolicyUnreadableError(TransientError):
    """The policy files cannot be read or are not valid when a task begins; perhaps somebody is saving them."""

    exit_code = 78


class GapError(PolicyError):
    """The source and the policy disagree: a column that no policy declares, or a declared one that is missing."""


class InputError(GovernanceError):
    """A file or an argument that a person gave cannot be used."""

    exit_code = 65  # EX_DATAERR


class KeyringError(GovernanceError):
    """A key, the keyring or the key store is missing, unreadable or not the right one; or a ciphertext was moved or
    altered."""


class KeyDestroyedError(KeyringError):
    """A key was destroyed, or is past its deadline: what it protected is gone, and nothing more is put under it."""


class KeyPurposeError(GovernanceError):
    """A role asked for a key that no purpose of its may use."""

    exit_code = 77  # EX_NOPERM


class RecipientError(GovernanceError):
    """Somebody is not registered to receive what was to be handed over, or no longer (H1)."""

    exit_code = 77  # EX_NOPERM


class EndpointUnavailableError(TransientError):
    """The folder in which a recipient gets what is handed over is not there, or cannot be written."""


class SiteError(GovernanceError):
    """The embedded site of this checkout (clusters, ports, Airflow) is not in the state that a command needs."""


class SourceUnavailableError(TransientError):
    """The source cannot be reached, or the connection was lost in the middle of a read."""


class WarehouseUnavailableError(TransientError):
    """Our database cannot be reached, or the connection was lost; nothing of the step was kept."""


class KeyStoreUnavailableError(TransientError):
    """The key store cannot be reached, or is kept busy by somebody else; nothing of the step was kept."""


class CheckpointsUnavailableError(TransientError):
    """The folder of published checkpoints cannot be read or written."""


class ClockError(TransientError):
    """This machine's clock and the database's disagree about what time it is; nothing was done."""


class OutdatedError(TransientError):
    """Our database was made for another version of this code, or for another policy."""


class ContendedError(TransientError):
    """Another run is working on the same partition."""


class PartitionError(GovernanceError):
    """A partition is missing, malformed, not closed yet, or before the dataset's first one."""


class ValidationStoppedError(GovernanceError):
    """A critical table-level rule failed: the batch stops and the last good state stays."""


class DisclosureError(GovernanceError):
    """What was about to be published does not hold the measures that policy asks for."""


class ConservationError(GovernanceError):
    """Rows went missing or appeared between two hops."""


class AlarmError(GovernanceError):
    """Something that a person should look at, found by a watch: what was to be written is written.

    `is_new`: it was not so at the last look, or that was long ago; only then is anybody told anew.
    """

    def __init__(self, alarms: Sequence[str], *, is_new: bool = True) -> None:
        self.alarms, self.is_new = tuple(alarms), is_new
        super().__init__("; ".join(f"ALARM {alarm}" for alarm in alarms))


class ProofError(GovernanceError):
    """A hash, a signature or a proof of the run log does not show what it should."""


class RunLogError(GovernanceError):
    """The run log does not hold what its checkpoints say it holds: it was changed, cut, or an old copy was put back."""
