"""Keyed tokens (policy clauses B2, E1)."""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pytest

from governance.errors import GovernanceError
from governance.key import DataKey
from governance.pseudonymisation import DOMAINS, LONGEST_NORMALISED, key_tokens, tokens, visitor_tokens

KEY = DataKey(bytes(16), "visitor_day", bytes(range(32)))


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


def token(value: object, key: DataKey = KEY, domain: str = "device") -> str:
    return tokens(pa.array([value]), key=key, domain=domain)[0].as_py()


def visitor(device: str | None, session: str | None, ip: str | None, agent: str | None) -> str | None:
    return visitor_tokens(texts(device), texts(session), texts(ip), texts(agent), key=KEY)[0].as_py()


@pytest.mark.clause("B2")
def test_a_token_is_what_the_format_says_computed_by_hand() -> None:
    digest = hmac.new(KEY.secret, b"governance token 1\0device\0sabc", hashlib.sha256).digest()
    assert token("abc", domain="device") == digest[:16].hex()


@pytest.mark.clause("B2")
def test_secret_domain_and_type_each_make_another_token() -> None:
    others = [
        token("7"),
        token(7),
        token(8),
        token("7", key=DataKey(KEY.id, "visitor_day", bytes(32))),
        *(token("7", domain=domain) for domain in DOMAINS - {"device"}),
    ]
    assert len(set(others)) == len(others) == 7


def test_a_token_tells_nothing_of_the_key_by_which_it_was_made() -> None:
    assert token("7", key=DataKey(b"o" * 16, "another", KEY.secret)) == token("7")
    assert KEY.id.hex() not in token("7")
    assert len(token("7")) == 32


def test_the_same_text_in_two_spellings_of_unicode_is_one_person() -> None:
    assert token("A\u030asa") == token("\u00c5sa")


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint64()])
def test_integers_of_every_width_have_one_token(kind: pa.DataType) -> None:
    assert tokens(pa.array([7], kind), key=KEY, domain="device")[0].as_py() == token(7)


def test_strings_of_every_width_have_one_token() -> None:
    assert tokens(pa.array(["7"], pa.large_string()), key=KEY, domain="device")[0].as_py() == token("7")


def test_null_stays_null_and_rows_keep_their_place() -> None:
    found = tokens(pa.chunked_array([["a", None], ["b", "a"]]), key=KEY, domain="session")
    assert found.type == pa.string()
    first, none, second, third = found.to_pylist()
    assert none is None
    assert first == third != second
    assert tokens(texts(), key=KEY, domain="device").to_pylist() == []
    assert tokens(texts(None), key=KEY, domain="device").to_pylist() == [None]


@pytest.mark.parametrize("domain", ["devices", "client", "key", ""])
def test_an_unknown_domain_is_refused(domain: str) -> None:
    with pytest.raises(GovernanceError, match=f"no domain {domain}; there are card, device, session, visitor"):
        tokens(texts("a"), key=KEY, domain=domain)


@pytest.mark.parametrize("values", [[1.5], [True], [b"x"]])
def test_a_type_without_canonical_form_is_refused_without_its_value(values: list[object]) -> None:
    with pytest.raises(GovernanceError, match="no canonical form") as refusal:
        tokens(pa.array(values), key=KEY, domain="device")
    assert str(values[0]) not in str(refusal.value)


# -- clients -----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("M1")
def test_a_clients_token_is_the_id_of_the_clients_key_and_there_is_none_without_client_or_key() -> None:
    ids = pa.array([b"a" * 16, b"b" * 16, b"a" * 16, None, b"b" * 16, None], pa.binary())
    clients = pa.array([7, 8, 7, 9, None, None], pa.int64())
    found = key_tokens(ids, clients)
    assert found.type == pa.string()
    assert found.to_pylist() == [(b"a" * 16).hex(), (b"b" * 16).hex(), (b"a" * 16).hex(), None, None, None]
    assert key_tokens(ids.slice(0, 0), clients.slice(0, 0)).to_pylist() == []


def test_tokens_of_clients_keep_their_place_in_chunks_and_slices_and_for_identifiers_of_any_type() -> None:
    ids = pa.array([b"a" * 16, None, b"b" * 16], pa.binary())
    one, _, other = (None if id is None else id.hex() for id in ids.to_pylist())
    chunked = pa.chunked_array([ids.slice(0, 1), ids.slice(1)])
    assert key_tokens(chunked, texts("7", "8", "9")).to_pylist() == [one, None, other]
    assert key_tokens(ids.slice(1), texts("8", None)).to_pylist() == [None, None]
    assert key_tokens(ids.slice(1), texts(None, "9")).to_pylist() == [None, other]


# -- visitors ----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("B2")
def test_a_visitor_is_the_device_else_address_and_browser_else_the_session() -> None:
    device = visitor("d", "s", "192.0.2.1", "Firefox")
    address = visitor(None, "s", "192.0.2.1", "Firefox")
    session = visitor(None, "s", "192.0.2.1", None)
    assert None not in {device, address, session}
    assert len({device, address, session}) == 3
    assert device == visitor("d", None, None, None)
    assert address == visitor(" ", "", "192.0.2.1", "Firefox")  # a blank is no device
    assert session == visitor("", "s", None, "Firefox")


@pytest.mark.clause("B2")
def test_who_has_a_new_session_with_every_view_is_one_visitor() -> None:
    assert len({visitor(None, f"session {n}", "192.0.2.1", "Firefox") for n in range(15)}) == 1


@pytest.mark.parametrize(("ip", "agent"), [("192.0.2.1", None), (None, "Firefox"), ("192.0.2.1", " "), (None, None)])
def test_half_an_address_is_no_visitor(ip: str | None, agent: str | None) -> None:
    assert visitor(None, None, ip, agent) is None


def test_a_device_never_has_the_token_of_a_session_or_of_another_split() -> None:
    assert visitor("x", None, None, None) != visitor(None, "x", None, None)
    assert visitor(None, None, "a|b", "c") != visitor(None, None, "a", "b|c")


def test_visitors_of_chunked_columns_keep_their_place() -> None:
    chunked = pa.chunked_array([["d", None], [None]], pa.string())
    none = texts(None, None, None)
    session = texts("s", "s", None)
    found = visitor_tokens(chunked, session, none, none, key=KEY).to_pylist()
    assert found == [visitor("d", None, None, None), visitor(None, "s", None, None), None]


def test_a_text_is_normalised_up_to_its_longest_and_stands_as_it_is_beyond() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    for padding, is_same in ((LONGEST_NORMALISED - 2, True), (LONGEST_NORMALISED - 1, False)):
        pad = "x" * padding
        assert (token(pad + composed) == token(pad + decomposed)) is is_same


def test_a_million_combining_marks_out_of_order_hold_up_nobody() -> None:
    # To put them in order would take half an hour.
    marks = "e" + "\u0301\u0316" * 500_000
    assert token(marks) != token(marks + "\u0301")
