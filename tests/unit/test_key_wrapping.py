"""How data keys are named, and wrapped by a key-encryption key (policy clauses J1, K1, M1)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.errors import KeyringError
from governance.key import DataKey, Key
from governance.key_wrapping import REFERENCE_ID, REFERENCE_KIND, StoredKey, Wrapper, check_value, key_id

pytestmark = pytest.mark.clause("J1")

KEK = Key("key_encryption", 3, bytes(range(32)))
STORE = b"s" * 16
REFERENCE = DataKey(REFERENCE_ID, REFERENCE_KIND, bytes(range(1, 33)))
SECRET = bytes(range(100, 132))
NONCE = b"n" * 12
BLANK = StoredKey(b"i" * 16, "card_hour", "2026-03-10T11", 1_773_144_000, 1_773_990_000, 3, b"")


def wrapped(blank: StoredKey = BLANK, key: Key = KEK, store_id: bytes = STORE) -> StoredKey:
    return blank._replace(wrapped=Wrapper(key, store_id).wrap(SECRET, blank, NONCE))


def refusal(stored: StoredKey, key: Key = KEK, store_id: bytes = STORE) -> str:
    """What is said when a key is not unwrapped."""
    with pytest.raises(KeyringError, match="cannot be unwrapped: its row in the key store was altered") as refused:
        Wrapper(key, store_id).unwrap(stored)
    assert refused.value.__suppress_context__
    return str(refused.value)


# -- ids ---------------------------------------------------------------------------------------------------------------


@pytest.mark.clause("M1")
def test_an_id_is_what_the_format_says_computed_by_hand() -> None:
    digest = hmac.new(REFERENCE.secret, b"subject\0client 50012", hashlib.sha256).digest()
    assert key_id(REFERENCE, "subject", "client 50012") == digest[:16]


def test_two_who_need_the_same_key_name_the_same_one_also_in_another_spelling_of_unicode() -> None:
    assert key_id(REFERENCE, "subject", "A\u030asa") == key_id(REFERENCE, "subject", "\u00c5sa")
    assert key_id(REFERENCE, "subject", "client 7") == key_id(REFERENCE, "subject", "client 7")


def test_another_kind_scope_or_reference_key_makes_another_id() -> None:
    found = [
        key_id(REFERENCE, "subject", "client 7"),
        key_id(REFERENCE, "profile", "client 7"),
        key_id(REFERENCE, "subject", "client 8"),
        key_id(REFERENCE, "subject", "Client 7"),
        key_id(REFERENCE, "subject", "client 7 "),
        key_id(REFERENCE, "subject", "traveller 7"),
        key_id(REFERENCE, "subject", ""),
        key_id(REFERENCE, "subjec", "tclient 7"),
        key_id(DataKey(REFERENCE_ID, REFERENCE_KIND, bytes(32)), "subject", "client 7"),
    ]
    assert len(set(found)) == len(found)
    assert REFERENCE_ID not in found
    assert {len(id) for id in found} == {16}


def test_an_id_depends_on_the_secret_of_the_reference_key_alone() -> None:
    assert key_id(DataKey(b"x" * 16, "other", REFERENCE.secret), "subject", "a") == key_id(REFERENCE, "subject", "a")


# -- check values ------------------------------------------------------------------------------------------------------


def test_a_check_value_is_what_the_format_says_computed_by_hand() -> None:
    digest = hmac.new(KEK.secret, b"governance key check 1\0" + STORE, hashlib.sha256).digest()
    assert check_value(KEK, STORE) == digest[:16]


def test_a_check_value_tells_keys_and_stores_apart_and_not_versions() -> None:
    found = [
        check_value(KEK, STORE),
        check_value(Key(KEK.name, KEK.version, bytes(32)), STORE),
        check_value(KEK, b"t" * 16),
    ]
    assert len(set(found)) == 3
    assert check_value(Key(KEK.name, 9, KEK.secret), STORE) == check_value(KEK, STORE)


def test_a_check_value_is_no_part_of_what_wraps() -> None:
    wrapping = hmac.new(KEK.secret, b"governance wrapping key 1\0" + STORE, hashlib.sha256).digest()
    assert check_value(KEK, STORE) not in wrapping
    assert check_value(KEK, STORE) not in KEK.secret


# -- wrapping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blank",
    [
        BLANK,
        BLANK._replace(expires_at=None),
        BLANK._replace(scope=None),
        BLANK._replace(id=REFERENCE_ID, kind=REFERENCE_KIND, scope=None, expires_at=None),
        BLANK._replace(created_at=0, expires_at=0),
        BLANK._replace(created_at=-1, expires_at=2**40),
    ],
)
def test_what_was_wrapped_is_unwrapped(blank: StoredKey) -> None:
    assert Wrapper(KEK, STORE).unwrap(wrapped(blank)) == DataKey(blank.id, blank.kind, SECRET)


def test_a_wrapped_key_opens_with_the_documented_format_and_nothing_of_ours() -> None:
    wrapping = hmac.new(KEK.secret, b"governance wrapping key 1\0" + STORE, hashlib.sha256).digest()
    value = wrapped().wrapped
    assert value is not None
    assert value[:12] == NONCE
    assert len(value) == 12 + 32 + 16
    bound = b"governance wrapped key 1\0" + b"i" * 16 + struct.pack(">qq", 1_773_144_000, 1_773_990_000) + b"card_hour"
    assert AESGCM(wrapping).decrypt(value[:12], value[12:], bound) == SECRET


def test_a_key_without_a_deadline_is_bound_to_having_none() -> None:
    wrapping = hmac.new(KEK.secret, b"governance wrapping key 1\0" + STORE, hashlib.sha256).digest()
    value = wrapped(BLANK._replace(expires_at=None)).wrapped
    assert value is not None
    bound = b"governance wrapped key 1\0" + b"i" * 16 + struct.pack(">qq", 1_773_144_000, -1) + b"card_hour"
    assert AESGCM(wrapping).decrypt(value[:12], value[12:], bound) == SECRET


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    "change",
    [
        {"id": b"j" + b"i" * 15},
        {"id": b"i" * 15 + b"j"},
        {"kind": "subject"},
        {"kind": "card_hours"},
        {"created_at": BLANK.created_at + 1},
        {"created_at": BLANK.created_at - 1},
        {"expires_at": BLANK.created_at + 10 * 86_400 + 1},
        {"expires_at": 1_773_990_001},
        {"expires_at": 1_773_989_999},
        {"expires_at": None},
        {"created_at": BLANK.expires_at, "expires_at": BLANK.created_at},
    ],
    ids=repr,
)
def test_who_alters_what_the_store_says_of_a_key_makes_it_useless(change: dict[str, Any]) -> None:
    assert "kind" in refusal(wrapped()._replace(**change))


def test_a_deadline_cannot_be_given_to_a_key_that_has_none() -> None:
    refusal(wrapped(BLANK._replace(expires_at=None))._replace(expires_at=BLANK.expires_at))


def test_the_wrapped_secret_of_one_key_is_no_other_keys() -> None:
    other = wrapped(BLANK._replace(id=b"j" * 16))
    refusal(wrapped()._replace(wrapped=other.wrapped))


@pytest.mark.parametrize("change", [{"scope": None}, {"scope": "2026-03-10T12"}, {"version": 4}])
def test_what_is_said_beside_is_not_bound(change: dict[str, Any]) -> None:
    # The scope is in the id, and the version says which key to try.
    assert Wrapper(KEK, STORE).unwrap(wrapped()._replace(**change)).secret == SECRET


@pytest.mark.parametrize(
    ("key", "store_id"),
    [
        (Key(KEK.name, KEK.version, bytes(32)), STORE),
        (Key(KEK.name, 4, b"4" * 32), STORE),
        (KEK, b"t" * 16),
        (KEK, STORE[:-1]),
    ],
    ids=["another secret", "another version", "another store", "a store id that was cut"],
)
def test_another_key_encryption_key_or_another_store_unwraps_nothing(key: Key, store_id: bytes) -> None:
    refusal(wrapped(), key, store_id)


def test_a_wrapped_key_altered_or_cut_anywhere_is_refused() -> None:
    value = wrapped().wrapped
    assert value is not None
    for at in range(len(value)):
        refusal(BLANK._replace(wrapped=value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]))
        refusal(BLANK._replace(wrapped=value[:at]))
    refusal(BLANK._replace(wrapped=value + b"\0"))


@pytest.mark.parametrize("nothing", [None, b""])
def test_a_destroyed_key_cannot_be_unwrapped(nothing: bytes | None) -> None:
    refusal(BLANK._replace(wrapped=nothing))


def test_two_stores_under_one_key_wrap_alike_under_different_keys() -> None:
    assert wrapped().wrapped != wrapped(store_id=b"t" * 16).wrapped  # the same secret, id and nonce


def test_a_refusal_names_the_kind_and_neither_scope_nor_secret() -> None:
    said = refusal(wrapped()._replace(expires_at=None))
    assert "a key of kind card_hour" in said
    assert "2026-03-10T11" not in said
    assert SECRET.hex() not in said
    assert repr(SECRET)[2:-1] not in said


def test_the_wrapper_shows_no_secret_and_has_its_version() -> None:
    wrapper = Wrapper(KEK, STORE)
    assert wrapper.version == 3
    assert KEK.secret.hex() not in repr(wrapper)
    assert repr(KEK.secret)[2:-1] not in repr(wrapper)


# -- what the store holds ----------------------------------------------------------------------------------------------


@pytest.mark.clause("K1")
@pytest.mark.parametrize(
    ("now", "is_due"), [(999, False), (999.999, False), (1000, True), (1000.001, True), (1001, True)]
)
def test_a_key_is_due_from_the_second_of_its_deadline_on(now: float, is_due: bool) -> None:
    assert BLANK._replace(expires_at=1000).is_due(now) == is_due
    assert not BLANK._replace(expires_at=None).is_due(now)


def test_a_key_is_destroyed_when_its_secret_is_gone() -> None:
    assert BLANK._replace(wrapped=None).is_destroyed
    assert not wrapped().is_destroyed
