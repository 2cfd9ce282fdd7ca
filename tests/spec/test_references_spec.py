"""References as an independent reader makes them, with the standard library alone (RFC 2104)."""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pytest

from governance.key import DataKey
from governance.sharing.references import digest, referenced

pytestmark = pytest.mark.clause("F1")

KEY = DataKey(bytes(16), "reference", bytes(range(32)))
ROWS = [(7, 1, 1), (7, 1, 2), (7, 2, 1), (7, 2, 2), (12, 1, 1)]  # booking, service, traveller


def known_as(domain: str, name: str) -> str:
    return hmac.new(KEY.secret, f"governance reference 1\0{domain}\0{name}".encode(), hashlib.sha256).hexdigest()


def test_rows_have_three_references_and_are_ascending_by_them() -> None:
    names = ["booking_id", "service_no", "traveller_no"]
    found = referenced(pa.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))), KEY).to_pylist()
    expected = sorted(
        (known_as("booking", f"{b}"), known_as("service", f"{b}/{s}"), known_as("person", f"{b}/{t}"), b, s, t)
        for b, s, t in ROWS
    )
    columns = ["booking_reference", "service_reference", "person_reference", *names]
    assert [tuple(row[name] for name in columns) for row in found] == expected


def test_a_digest_is_of_the_rows_whatever_their_order() -> None:
    rows = [("b", "a", "c"), ("a", "b", "c"), ("a", "a", "d")]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    assert digest(*columns) == hashlib.sha256(b"a a d\na b c\nb a c\n").hexdigest()
    assert digest(*(column[:0] for column in columns)) == hashlib.sha256(b"").hexdigest()
