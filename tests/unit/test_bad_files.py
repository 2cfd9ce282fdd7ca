"""Whatever a person gives to `import`: a file that is of no use says why and what to do, a line is counted or read."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from bad_files import FILES, HEADER, LINES, SOUND, BadFile, BadLine, bomb, request, stay
from bad_rows import MARK
from governance.errors import InputError
from governance.sample import access_log, hotel, inputs

READERS = {"bookings": hotel.read, "access_log": access_log.read}


def rows(read: hotel.HotelBookings | access_log.Requests) -> int:
    """How many lines were good."""
    return len(read.booked) if isinstance(read, hotel.HotelBookings) else len(read.at)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_that_cannot_be_used_is_named_with_its_problem_and_what_to_do(
    file: BadFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "FREE_UNPACKED", 1 << 20)
    path = tmp_path / "given"
    path.write_bytes(SOUND[file.which])
    file.spoil(path)
    with pytest.raises(InputError) as caught:
        inputs.digest(path)  # what `import` does first
        READERS[file.which](path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert file.told in said
    assert file.step in said
    assert MARK not in said
    assert said.isprintable()
    assert len(said) < 1_000
    mended = tmp_path / "mended"
    mended.write_bytes(SOUND[file.which])
    assert rows(READERS[file.which](mended)) == 2


@pytest.mark.parametrize("line", LINES, ids=lambda line: ascii(line.name))
def test_a_line_is_counted_by_its_reason_or_read_and_its_neighbours_are_read(line: BadLine, tmp_path: Path) -> None:
    path = tmp_path / "given"
    sound = SOUND[line.which].splitlines(keepends=True)
    path.write_bytes(b"".join([*sound[:-1], line.line, b"\n", sound[-1]]))
    read = READERS[line.which](path)
    assert dict(read.tally.malformed) == ({line.reason: 1} if line.reason else {})
    assert (read.tally.read, rows(read)) == (3, 2 if line.reason else 3)


@pytest.mark.parametrize("which", SOUND)
@pytest.mark.parametrize(
    "form",
    (
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.rstrip(b"\n"),
        lambda content: gzip.compress(b"\xef\xbb\xbf" + content),
        lambda content: gzip.compress(content) + bytes(512),  # as a tape pads it
        lambda content: b"".join(gzip.compress(line) for line in content.splitlines(keepends=True)),
    ),
    ids=("byte-order mark", "CRLF", "no last line end", "byte-order mark in gzip", "padded gzip", "gzip in pieces"),
)
def test_the_same_lines_in_another_form_are_the_same(which: str, form, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.write_bytes(SOUND[which])
    other.write_bytes(form(SOUND[which]))
    first, second = READERS[which](plain), READERS[which](other)
    if isinstance(first, access_log.Requests) and isinstance(second, access_log.Requests):
        assert (first.address, first.url, first.agent) == (second.address, second.url, second.agent)
    assert (rows(first), first.tally) == (rows(second), second.tally) and rows(first) == 2


@pytest.mark.parametrize(("which", "line"), (("bookings", stay()), ("access_log", request())))
def test_as_many_lines_as_allowed_are_read_and_one_more_is_told(
    which: str, line: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MOST_LINES", 10)
    path, head = tmp_path / "given", [HEADER.encode()] if which == "bookings" else []
    for count, is_allowed in ((10, True), (11, False)):
        path.write_bytes(b"\n".join(head + [line] * (count - len(head))) + b"\n")
        if is_allowed:
            assert rows(READERS[which](path)) == count - len(head)
        else:
            with pytest.raises(InputError, match=r"given: more than 10 lines\. Give a part of it; nothing was loaded"):
                READERS[which](path)


def test_a_gzip_that_unpacks_to_just_as_much_as_allowed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "given", (request() + b"\n") * 1_000
    path.write_bytes(gzip.compress(content))
    monkeypatch.setattr(inputs, "MOST_UNPACKED", 0)
    monkeypatch.setattr(inputs, "FREE_UNPACKED", len(content))
    assert rows(access_log.read(path)) == 1_000
    monkeypatch.setattr(inputs, "FREE_UNPACKED", len(content) - 1)
    with pytest.raises(InputError, match="unpacks to more than"):
        access_log.read(path)


def test_a_zip_bomb_takes_no_more_memory_than_a_line(tmp_path: Path) -> None:
    path = tmp_path / "given"
    bomb(SOUND["access_log"], b"\0", unpacked=100 << 20)(path)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            for _ in inputs.lines(path):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
