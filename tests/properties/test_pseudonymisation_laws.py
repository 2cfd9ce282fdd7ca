"""Laws of tokens: equal values and only those have equal tokens."""

from __future__ import annotations

import re
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.key import DataKey
from governance.pseudonymisation import DOMAINS, key_tokens, tokens, visitor_tokens

KEY = DataKey(bytes(16), "visitor_day", bytes(range(32)))
FORM = re.compile(r"[0-9a-f]{32}")


@pytest.mark.clause("B2")
@given(st.lists(st.none() | st.text(max_size=8), max_size=10), st.sampled_from(sorted(DOMAINS)))
def test_tokens_are_equal_exactly_where_the_values_are(values: list[str | None], domain: str) -> None:
    found = tokens(pa.array(values, pa.string()), key=KEY, domain=domain).to_pylist()
    assert all((token is None) == (value is None) for token, value in zip(found, values, strict=True))
    assert all(FORM.fullmatch(token) for token in found if token is not None)
    canonical = {unicodedata.normalize("NFC", value) for value in values if value is not None}
    assert len(canonical) == len(set(found) - {None})


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=10))
def test_integers_have_tokens_of_their_own(values: list[int]) -> None:
    found = tokens(pa.array(values, pa.int64()), key=KEY, domain="device").to_pylist()
    assert len(set(found)) == len(set(values))
    as_text = tokens(pa.array(map(str, values), pa.string()), key=KEY, domain="device").to_pylist()
    assert not set(found) & set(as_text)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.text(max_size=5))
def test_two_keys_never_give_one_token(one: bytes, other: bytes, value: str) -> None:
    keys = (DataKey(bytes(16), "visitor_day", secret) for secret in (one, other))
    first, second = (tokens(pa.array([value]), key=key, domain="device")[0].as_py() for key in keys)
    assert (first == second) == (one == other)


CLIENTS = st.tuples(st.none() | st.sampled_from([b"a" * 16, b"b" * 16, bytes(16)]), st.none() | st.integers(0, 9))


@pytest.mark.clause("M1")
@given(st.lists(CLIENTS, max_size=10))
def test_a_client_has_a_token_exactly_where_there_are_a_key_and_a_client(rows: list) -> None:
    ids, clients = pa.array([id for id, _ in rows], pa.binary()), pa.array([c for _, c in rows], pa.int64())
    expected = [None if id is None or client is None else id.hex() for id, client in rows]
    assert key_tokens(ids, clients).to_pylist() == expected


PARTS = st.none() | st.text("a|1 ", max_size=4)
VISITS = st.tuples(PARTS, PARTS, PARTS, PARTS)


def identity(visit: tuple[str | None, str | None, str | None, str | None]) -> tuple[str, ...] | None:
    """Who the visitor is, said slowly."""
    device, session, ip, agent = (part if part and part.strip() else None for part in visit)
    if device:
        return ("device", device)
    if ip and agent:
        return ("address", ip, agent)
    return ("session", session) if session else None


@pytest.mark.clause("B2")
@given(st.lists(VISITS, max_size=8))
def test_visitors_have_equal_tokens_exactly_where_their_identities_are_equal(visits: list) -> None:
    columns = (pa.array([visit[i] for visit in visits], pa.string()) for i in range(4))
    found = visitor_tokens(*columns, key=KEY).to_pylist()
    identities = [identity(visit) for visit in visits]
    assert [token is None for token in found] == [who is None for who in identities]
    assert len(set(found)) == len(set(identities))
