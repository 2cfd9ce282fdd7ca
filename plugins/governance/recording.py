"""Every hop writes that it is about to happen, and how it ended (clause R1).

The outcome of a success is appended by the warehouse in the transaction of its effect. What is here writes the intent
before, and the outcome of a failure after; an intent that stays without an outcome was interrupted, and `governance
runs` shows it as such.
"""

from __future__ import annotations

import hashlib
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from governance import warehouse
from governance.errors import GovernanceError, KeyPurposeError, WarehouseUnavailableError
from governance.run_log import Attempt, Entry, Outcome

PACKAGE = Path(__file__).parent


def code_digest() -> str:
    """SHA-256 over the package's Python and SQL files, by path, as they were when this process imported the code.

    A task inherits that from the process which forked it: files that have been changed since are not what it runs.
    """
    return _CODE


def _digest_of_files() -> str:
    digest = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")]):
        digest.update(
            path.relative_to(PACKAGE).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest()
        )
    return digest.hexdigest()


_CODE = _digest_of_files()


def new_id() -> str:
    """A fresh identifier of an attempt or an entry."""
    return str(uuid.uuid4())


class Recorded:
    """The try of one hop, as a context: intent at entry, and an outcome `failed` when it is left by an error.

    An error that is not ours leaves as a GovernanceError without its text, which may quote rows: only its type and
    place remain.
    """

    def __init__(
        self,
        attempt: Attempt,
        *,
        dsn: str,
        clock: Callable[[], datetime],
        has_intent: bool = True,
        texts: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._texts = texts or {}
        self._dsn = dsn
        self._has_intent = has_intent
        self._clock = clock
        self.attempt = attempt
        self.facts: dict[str, Any] = {}
        """What a failed outcome should say beside its error, such as the rules that stopped the batch."""

    def outcome(self, outcome: Outcome, **facts: Any) -> Entry:
        """The outcome entry of this try; `facts` are Entry's own keywords."""
        return self.attempt.outcome(outcome, entry_id=new_id(), at=self._clock(), **facts)

    def outcome_of(self, attempt_id: str, event: str, outcome: Outcome, **facts: Any) -> Entry:
        """The outcome entry of another try, which this one completes the record of."""
        attempt = replace(self.attempt, attempt_id=attempt_id, event=event)
        return attempt.outcome(outcome, entry_id=new_id(), at=self._clock(), **facts)

    def append(self, entry: Entry) -> None:
        """Append an entry of a try that has no effect in the database."""
        with warehouse.connect(self._dsn, self.attempt.batch.label) as connection:
            connection.append(entry)

    def refused(self, error: KeyPurposeError) -> None:
        """Record, as an entry of its own, that a key was refused (J2); it stays refused also when the log is away."""
        attempt = replace(self.attempt, attempt_id=new_id(), event="use_key", clauses=("J2",))
        facts = {"error": {"type": type(error).__name__, "message": str(error)}}
        with (
            suppress(WarehouseUnavailableError),
            warehouse.connect(self._dsn, self.attempt.batch.label) as connection,
        ):
            connection.append(attempt.outcome(Outcome.FAILED, entry_id=new_id(), at=self._clock(), **facts))

    def __enter__(self) -> Recorded:
        if self._has_intent or self._texts:
            with warehouse.connect(self._dsn, self.attempt.batch.label) as connection:
                connection.keep_texts(self._texts)
                if self._has_intent:
                    connection.append(self.attempt.intent(entry_id=new_id(), at=self._clock()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, Exception):
            return  # success has its entry; a kill or an interrupt leaves the intent alone, which is the truth
        ours = error if isinstance(error, GovernanceError) else self._without_text(error, trace)
        failed = self.outcome(Outcome.FAILED, error={"type": type(ours).__name__, "message": str(ours)}, **self.facts)
        try:
            with warehouse.connect(self._dsn, self.attempt.batch.label) as connection:
                connection.append(failed)
        except WarehouseUnavailableError:
            pass  # the intent stays without an outcome, and shows as interrupted
        if ours is not error:
            raise ours from None

    def _without_text(self, error: Exception, trace: TracebackType | None) -> GovernanceError:
        frames = traceback.extract_tb(trace)
        own = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "an unknown place"
        return GovernanceError(
            f"{self.attempt.batch.label}: {self.attempt.event} met an unexpected {type(error).__name__} at {place}; "
            f"nothing of this step was kept; its text is withheld because it may quote a row"
        )
