"""The command line: `governance COMMAND`. The only place that prints and exits."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from governance.commands import (
    anonymise,
    assess,
    backups,
    cards,
    clauses,
    deliveries,
    keys,
    log,
    quarantine,
    read,
    recipients,
    record,
    releases,
    retention,
    runs,
    who_has,
)
from governance.embedded import cli as embedded_cli
from governance.embedded import demo
from governance.errors import GovernanceError, InputError
from governance.sample import cli as sample_cli


def parser() -> argparse.ArgumentParser:
    """The parser of every command; each sets `run`, a function from the parsed arguments to an exit code."""
    top = argparse.ArgumentParser(prog="governance", description="Wellbe's privacy policy, in operation.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        demo,
        embedded_cli,
        sample_cli,
        runs,
        quarantine,
        read,
        releases,
        retention,
        deliveries,
        recipients,
        record,
        who_has,
        cards,
        keys,
        backups,
        log,
        clauses,
        anonymise,
        assess,
    ):
        module.register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error of ours is one clear message on stderr, and its exit code."""
    arguments = parser().parse_args(argv)
    try:
        _require_text(sys.argv[1:] if argv is None else argv)
        return int(arguments.run(arguments))
    except GovernanceError as error:
        print(f"governance: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; what runs stays up: `make down` stops it", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:
        # The reader has seen enough (`governance runs | head`); Python would complain once more when it closes the
        # pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A file that cannot be opened or written; its name is what a person gave, or one of this checkout's.
        name = error.filename or "a file"
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "name another"
        print(f"governance: {name}: {error.strerror or 'failed'}; {advice}", file=sys.stderr)  # noqa: T201
        return 74  # EX_IOERR


def _require_text(arguments: Sequence[str]) -> None:
    """Raises InputError for bytes that are no text: no database and no log could hold them."""
    if any("\ud800" <= letter <= "\udfff" for argument in arguments for letter in argument):
        raise InputError("an argument is no text in UTF-8")


if __name__ == "__main__":
    sys.exit(main())
