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
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from governance.key import DataKey


def made(key: DataKey, domain: str, names: Iterable[str]) -> list[str]:
    """References by names, 64 hex digits each.

    >>> [one[:16] for one in made(DataKey(bytes(16), "reference", bytes(32)), "booking", ["4711"])]
    ['4e14fe1c11f2185b']
    """
    begun = key.mac.copy()
    begun.update(b"governance reference 1\0%b\0" % domain.encode())
    found = []
    for name in names:
        one = begun.copy()
        one.update(name.encode())
        found.append(one.finalize().hex())
    return found


def referenced(rows: pa.Table, key: DataKey) -> pa.Table:
    """Rows with booking_reference, service_reference and person_reference, ascending by these.

    `rows` has booking_id, service_no and traveller_no: integers.
    """
    booking, service, person = (
        pc.cast(rows[name], pa.string()) for name in ("booking_id", "service_no", "traveller_no")
    )
    named = {
        "booking_reference": ("booking", booking),
        "service_reference": ("service", pc.binary_join_element_wise(booking, service, "/")),
        "person_reference": ("person", pc.binary_join_element_wise(booking, person, "/")),
    }
    for column, (domain, names) in named.items():
        rows = rows.append_column(column, _references(key, domain, names))
    return rows.take(pc.sort_indices(rows, [(column, "ascending") for column in named]))


def digest(*references: pa.Array) -> str:
    """SHA-256 over references of rows (by column: booking, service, person), ascending, one row a line, with single
    spaces."""
    rows = pa.table(list(references), [str(place) for place in range(len(references))])
    ordered = rows.take(pc.sort_indices(rows, [(name, "ascending") for name in rows.column_names]))
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*ordered.columns, " "), "\n", "")
    return hashlib.sha256("".join(lines.to_pylist()).encode()).hexdigest()


def _references(key: DataKey, domain: str, names: pa.ChunkedArray) -> pa.Array:
    encoded = names.combine_chunks().dictionary_encode()
    distinct = pa.array(made(key, domain, encoded.dictionary.to_pylist()), pa.string())
    return distinct.take(encoded.indices)
