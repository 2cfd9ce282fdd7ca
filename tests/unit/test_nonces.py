"""Nonces that never repeat (policy clause J1)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from governance.encryption import NONCE_BYTES, cut
from governance.errors import KeyringError
from governance.nonces import COUNTER_BITS, Nonces

pytestmark = pytest.mark.clause("J1")


def in_a_fork(act: Callable[[], bool]) -> bool:
    """What an act answers in a fork of this process."""
    child = os.fork()
    if child == 0:
        answer = 2  # an error that nobody expected
        try:
            answer = 0 if act() else 1
        finally:
            os._exit(answer)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1)
    return code == 0


def is_refused(nonces: Nonces) -> bool:
    try:
        nonces.take(1)
    except KeyringError as error:
        return "carried into a fork" in str(error)
    return False


def test_a_nonce_is_its_writer_and_a_counter_from_zero() -> None:
    nonces = Nonces(0x010203040506)
    writer = bytes([1, 2, 3, 4, 5, 6])
    assert nonces.take(3) == b"".join(writer + n.to_bytes(6, "big") for n in range(3))
    assert nonces.take(1) == writer + (3).to_bytes(6, "big")
    assert len(nonces.take(1)) == NONCE_BYTES


def test_a_counter_goes_on_over_every_byte() -> None:
    nonces = Nonces(1)
    taken = list(cut(nonces.take(70_000)))
    assert taken[255][6:].hex() == "0000000000ff"
    assert taken[256][6:].hex() == "000000000100"
    assert taken[65_536][6:].hex() == "000000010000"


def test_taking_nothing_takes_nothing() -> None:
    nonces = Nonces(1)
    assert nonces.take(0) == b""
    assert nonces.take(1)[6:] == bytes(6)


def test_no_nonce_comes_twice_however_they_are_taken() -> None:
    nonces, other = Nonces(1), Nonces(2)
    taken = [nonce for count in (1, 0, 7, 1, 1000, 3) for nonce in cut(nonces.take(count) + other.take(count))]
    assert len(taken) == len(set(taken)) == 2 * 1012


@pytest.mark.parametrize("writer", [0, 1, 2**48 - 1])
def test_two_writers_never_share_one_up_to_the_last(writer: int) -> None:
    mine = Nonces(writer).take(5)
    theirs = Nonces((writer + 1) % 2**48).take(5)
    assert not set(cut(mine)) & set(cut(theirs))


@pytest.mark.parametrize("writer", [-1, 2**48])
def test_a_writer_that_six_bytes_cannot_say_is_an_error_and_not_another_writer(writer: int) -> None:
    with pytest.raises(OverflowError):
        Nonces(writer)


def test_threads_that_take_at_once_get_different_ones() -> None:
    nonces, taken = Nonces(1), []
    started = threading.Barrier(4)

    def take() -> None:
        started.wait()
        taken.extend([nonces.take(3) for _ in range(2000)])

    workers = [threading.Thread(target=take) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = [nonce for piece in taken for nonce in cut(piece)]
    assert len(found) == len(set(found)) == 4 * 2000 * 3


def test_those_who_take_at_once_take_turns() -> None:
    nonces, taken = Nonces(1), threading.Event()

    def take() -> None:
        nonces.take(1)
        taken.set()

    worker = threading.Thread(target=take)
    with nonces._turn:
        worker.start()
        assert not taken.wait(0.1)
    worker.join()
    assert taken.is_set()


def test_a_fork_is_refused_and_the_process_itself_goes_on() -> None:
    nonces = Nonces(1)
    first = nonces.take(1)
    assert in_a_fork(lambda: is_refused(nonces))
    assert not is_refused(nonces)
    assert nonces.take(1) != first


def test_a_process_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = Nonces(1)
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    assert is_refused(nonces)
    assert is_refused(nonces)  # asking again does not help


def test_a_fork_may_have_nonces_of_a_writer_of_its_own() -> None:
    assert in_a_fork(lambda: not is_refused(Nonces(2)))


def test_the_last_nonce_is_given_and_the_one_after_it_is_refused() -> None:
    nonces = Nonces(1)
    nonces._next = 2**COUNTER_BITS - 2
    assert nonces.take(2)[-6:] == b"\xff" * 6
    for count in (1, 1, 1000):
        with pytest.raises(KeyringError, match="used up its nonces; open the key store anew"):
            nonces.take(count)


def test_a_request_that_would_pass_the_last_one_gets_nothing_and_nothing_comes_after_it() -> None:
    nonces = Nonces(1)
    nonces._next = 2**COUNTER_BITS - 1
    for count in (2, 1):
        with pytest.raises(KeyringError, match="used up its nonces"):
            nonces.take(count)
