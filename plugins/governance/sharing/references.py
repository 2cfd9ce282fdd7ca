"""References by which a recipient knows a booking, a service and a person: keyed, and another one for each recipient.
Pure.

A reference is HMAC-SHA256 in hex (64 digits) over

    'governance reference 1' 00 domain 00 name

under a key of that recipient alone. Nobody without the key can say whose it is, and what two recipients hold cannot be
joined by it. This is pseudonymisation (GDPR article 4(5)): beside a name it protects nothing; it is for the run log and
for notices, which name nobody. Source: RFC 2104; policy clause F1.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import pandas as pd
import pyarrow as pa

from governance.key import DataKey


def reference(key: DataKey, domain: str, name: str) -> str:
    """One reference: 64 hex digits.

    >>> reference(DataKey(bytes(16), "reference", bytes(32)), "booking", "4711")[:16]
    '4e14fe1c11f2185b'
    """
    return hmac.digest(key.secret, b"governance reference 1\0%b\0%b" % (domain.encode(), name.encode()), "sha256").hex()


def referenced(rows: pd.DataFrame, key: DataKey) -> pd.DataFrame:
    """Rows with booking_reference, service_reference and person_reference, ascending by these; a frame of its own.

    `rows` has booking_id, service_no and traveller_no: integers.
    """
    bookings = rows["booking_id"].astype(str)
    named = {
        "booking_reference": ("booking", bookings),
        "service_reference": ("service", bookings + "/" + rows["service_no"].astype(str)),
        "person_reference": ("person", bookings + "/" + rows["traveller_no"].astype(str)),
    }
    added = rows.assign(**{column: _references(key, domain, names) for column, (domain, names) in named.items()})
    return added.sort_values(list(named), kind="stable", ignore_index=True)


def digest(references: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 over references of rows (booking, service, person), ascending, one row a line, with single spaces."""
    return hashlib.sha256("".join(f"{' '.join(row)}\n" for row in sorted(references)).encode()).hexdigest()


def _references(key: DataKey, domain: str, names: pd.Series) -> pd.Series:
    distinct = {name: reference(key, domain, name) for name in names.unique()}
    return names.map(distinct).astype(pd.ArrowDtype(pa.string()))
