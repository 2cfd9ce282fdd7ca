"""Keyed tokens in the place of identifiers: the same value gives the same token under one key, and none without it.
Pure.

A token is 32 hexadecimal digits: the first 128 bits of HMAC-SHA256 over

    'governance token 1' 00 domain 00 type value

with type 'i' (integer, decimal digits) or 's' (text, NFC up to 1,024 characters, UTF-8). The domain keeps a session
from ever having the token of a device with the same name. 128 bits: among 10^12 distinct values the chance of any two
sharing a token is below 10^-14.

This is pseudonymisation, not anonymisation (GDPR article 4(5)): who holds the key can test a guess, and identifiers are
easily guessed; tokens link everything that one person did under one key; equal values stay visibly equal. How long a
key lives bounds that: the key of a day's visitors dies once the day has landed (`visitor_day` in
`policies/keys.yaml`). A client's token is the id of the client's own key, so that it means nothing any more once that
key is destroyed. Source: RFC 2104; ENISA, Pseudonymisation techniques (2019); policy clauses B2, E1.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from governance.errors import GovernanceError
from governance.key import DataKey

DOMAINS = frozenset({"card", "device", "session", "visitor"})
TOKEN_BYTES = 16
LONGEST_NORMALISED = 1024
"""Characters. A longer value stands as it is: putting a long run of combining marks in order takes quadratic time, and
a client may write what a client likes."""


def tokens(values: pa.Array, *, key: DataKey, domain: str) -> pa.Array:
    """The token of each value: a string array of length n; NULL stays NULL.

    `values`: string or integer array of length n; integers of every width have the same token, and 7 has another than
    '7'. Raises `GovernanceError` for another type or an unknown domain.

    >>> key = DataKey(bytes(16), "visitor_day", bytes(32))
    >>> tokens(pa.array(["d7", None, "d7"]), key=key, domain="device").to_pylist()
    ['6e1958a4e8688ad9ff29e88cdc881bb8', None, '6e1958a4e8688ad9ff29e88cdc881bb8']
    """
    if domain not in DOMAINS:
        raise GovernanceError(f"tokens: no domain {domain}; there are {', '.join(sorted(DOMAINS))}")
    encoded = pc.dictionary_encode(_flat(values))
    head = b"governance token 1\0" + domain.encode() + b"\0"
    keyed = _hmac_sha256(key.secret, head)
    distinct = [keyed(form)[:TOKEN_BYTES].hex() for form in _canonical(encoded.dictionary)]
    return pa.array(distinct, pa.string()).take(encoded.indices)


def key_tokens(ids: pa.Array, identifiers: pa.Array) -> pa.Array:
    """The ids of people's keys (binary, length n) as tokens: a string array of length n, NULL without an identifier.

    >>> key_tokens(pa.array([bytes(16), bytes(16)]), pa.array([7, None])).to_pylist()
    ['00000000000000000000000000000000', None]
    """
    encoded = pc.dictionary_encode(_flat(ids))
    distinct = pa.array([id.hex() for id in encoded.dictionary.to_pylist()], pa.string())
    return pc.if_else(pc.is_valid(identifiers), distinct.take(encoded.indices), pa.scalar(None, pa.string()))


def visitor_tokens(
    device_id: pa.Array, session_id: pa.Array, ip: pa.Array, user_agent: pa.Array, *, key: DataKey
) -> pa.Array:
    """The token of each visitor: of the device, else of address and user agent together, else of the session, else
    NULL.

    String arrays of length n in, string array of length n out; a blank value counts as missing. Address before session:
    who refuses cookies has a new session with every view, and must not pass for a crowd. So visitors who share address
    and user agent share a token, and one who is seen first with and then without a device has two: counts of visitors
    are estimates, rather too low. Pass the key of a period. Source: policy clauses B1, B2.

    >>> one, none = pa.array(["a"]), pa.array([None], pa.string())
    >>> visitor_tokens(none, none, one, none, key=DataKey(bytes(16), "visitor_day", bytes(32))).to_pylist()
    [None]
    """
    device_id, session_id, ip, user_agent = (_present(values) for values in (device_id, session_id, ip, user_agent))
    # The length in front keeps 'a|b' + 'c' apart from 'a' + 'b|c'.
    both = pc.binary_join_element_wise(pc.cast(pc.utf8_length(ip), pa.string()), ip, user_agent, "|")
    found = pc.coalesce(_marked("device ", device_id), _marked("address ", both), _marked("session ", session_id))
    return tokens(found, key=key, domain="visitor")


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _canonical(distinct: pa.Array) -> list[bytes]:
    """The bytes that stand for each value, beginning with its type."""
    kind = distinct.type
    if pa.types.is_integer(kind):
        return [b"i%d" % value for value in distinct.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [b"s" + _normalised(value).encode() for value in distinct.to_pylist()]
    raise GovernanceError(f"tokens: values of type {kind} have no canonical form; pass text or integers")


def _normalised(value: str) -> str:
    return unicodedata.normalize("NFC", value) if len(value) <= LONGEST_NORMALISED else value


def _hmac_sha256(secret: bytes, head: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA256 of `head` and what follows it, with the key and the head hashed once: half the time of
    `hmac.digest`."""
    block = secret.ljust(hashlib.sha256().block_size, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + head)
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(rest: bytes) -> bytes:
        started, finished = inner.copy(), outer.copy()
        started.update(rest)
        finished.update(started.digest())
        return finished.digest()

    return digest


def _present(values: pa.Array) -> pa.Array:
    values = _flat(values)
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), pa.scalar(None, values.type), values)


def _marked(kind: str, values: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar(kind), values, "")
