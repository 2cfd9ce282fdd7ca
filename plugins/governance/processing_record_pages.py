"""The record of processing activities as a page (CommonMark) and as CSV, so that no text is taken for markup. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from governance.processing_record import TITLES, Activity


def markdown(record: Iterable[Activity]) -> str:
    """The record as a page: a section an activity, a list a letter (CommonMark)."""
    lines = [
        "# Record of processing activities",
        "",
        "GDPR article 30(1). Made from `policies/` and `expectations/contracts/` by `governance record`; do not edit.",
        "One activity for each purpose of the policy. Accounts of staff, which the run log and holds name, are no part "
        "of it.",
    ]
    for one in record:
        lines += ["", f"## {_escaped(one.name)}", ""]
        for part, title in TITLES.items():
            lines += [f"- **{title}**", *(f"  - {_escaped(told)}" for told in getattr(one, part))]
    return "\n".join(lines) + "\n"


def as_csv(record: Iterable[Activity]) -> str:
    """The record as CSV (RFC 4180, but that lines end with LF): a row a statement, so that none has to be taken apart.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["activity", "part", "statement"])
    for one in record:
        for part, title in TITLES.items():
            writer.writerows([_cell(one.name), title, _cell(told)] for told in getattr(one, part))
    return out.getvalue()


def _escaped(text: str) -> str:
    """A text on one line, of which Markdown reads nothing as its own."""
    line = re.sub(r"[\\`*_\[\]<>|~&#]", r"\\\g<0>", " ".join(text.split()))
    return re.sub(r"^(\d*)([-+.)])", r"\1\\\2", line)  # the beginning of a list


def _cell(text: str) -> str:
    line = " ".join(text.split())
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
