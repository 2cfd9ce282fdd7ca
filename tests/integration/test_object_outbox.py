"""The outbox in object storage, over real HTTP: the manifest commits, whatever fails leaves a draft at most."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec.config
import pytest

from deliveries import ONE, OTHER, RECIPIENT, sealed
from governance.errors import EndpointUnavailableError, GovernanceError, RecipientError
from governance.sharing import buckets, endpoints, outbox
from governance.sharing.objects import by_itself
from governance.sharing.outbox import LARGEST_ACKNOWLEDGEMENT, MANIFEST, SIGNATURE
from object_server import BUCKET, PREFIX, Asked, ObjectServer, object_server

pytestmark = pytest.mark.clause("F1", "J1")

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A server for all tests of this file."""
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture
def alone(shared: ObjectServer) -> ObjectServer:
    """That server, empty, for what runs without Airflow."""
    shared.empty()
    shared.at = None
    return shared


@pytest.fixture(params=["alone", pytest.param("in Airflow", marks=pytest.mark.airflow)])
def server(alone: ObjectServer, request: pytest.FixtureRequest) -> ObjectServer:
    """That server, empty, as the command line reaches it, and as a task does."""
    if request.param == "in Airflow":
        from governance.connections import in_object_storage

        alone.at = in_object_storage
    return alone


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A delivery."""
    return sealed(tmp_path / "sealed")


def expected(files: dict[str, Path], delivery_id: str = ONE) -> dict[str, bytes]:
    """The objects of a delivery."""
    return {f"{delivery_id}/{name}": path.read_bytes() for name, path in files.items()}


def is_whole(server: ObjectServer, files: dict[str, Path]) -> bool:
    """Whether the endpoint holds the delivery, wholly, and nothing else."""
    return server.names() == expected(files)


def says_nothing(server: ObjectServer, trouble: BaseException) -> bool:
    """Whether a message holds neither address nor secret."""
    return trouble.__cause__ is None and not any(
        hidden in str(trouble) for hidden in ("hidden", str(server.port), "127.0.0.1", BUCKET, "<Error>")
    )


def changing(server: ObjectServer) -> list[str]:
    """What was asked of the store that changes something."""
    return [asked.path for asked in server.asked if asked.changes]


# -- put ---------------------------------------------------------------------------------------------------------------


def test_a_delivery_is_there_whole_and_its_manifest_came_last_and_on_condition(
    server: ObjectServer, files: dict[str, Path]
) -> None:
    server.box().put(ONE, files)
    assert is_whole(server, files)
    order = [path.rpartition("/")[2] for path in changing(server)]
    assert order == ["part-00000.p7m", "part-00001.p7m", SIGNATURE, MANIFEST]
    assert server.asked[-1].headers.get("if-none-match") == "*"
    assert server.box().manifest(ONE) == files[MANIFEST].read_bytes()


def test_the_same_bytes_again_change_nothing(server: ObjectServer, files: dict[str, Path]) -> None:
    server.box().put(ONE, files)
    server.asked.clear()
    server.box().put(ONE, files)
    assert changing(server) == []
    assert is_whole(server, files)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("part-00000.p7m", b"shorter"),
        ("part-00001.p7m", b"!" * 3_000),
        (MANIFEST, b"!" * 2_970),
        ("more", b""),
    ],
)
def test_other_bytes_under_the_same_id_are_refused_and_nothing_is_replaced(
    server: ObjectServer, files: dict[str, Path], name: str, content: bytes
) -> None:
    server.box().put(ONE, files)
    server.write(f"{ONE}/{name}", content)
    before = server.names()
    with pytest.raises(GovernanceError, match="other bytes") as refusal:
        server.box().put(ONE, files)
    assert not isinstance(refusal.value, EndpointUnavailableError | RecipientError)
    assert server.names() == before


def test_what_a_try_with_other_bytes_left_is_no_part_of_the_next(server: ObjectServer, files: dict[str, Path]) -> None:
    server.write(f"{ONE}/part-00000.p7m", b"other")
    server.write(f"{ONE}/part-00009.p7m", b"more")
    server.box().put(ONE, files)
    assert is_whole(server, files)


def test_whoever_commits_meanwhile_is_not_replaced(server: ObjectServer, files: dict[str, Path]) -> None:
    def meanwhile(asked: Asked) -> None:
        if asked.path.endswith(f"/{MANIFEST}") and asked.method == "PUT":
            server.write(f"{ONE}/{MANIFEST}", b"theirs")

    server.meet = meanwhile
    with pytest.raises(GovernanceError, match="other bytes"):
        server.box().put(ONE, files)
    assert server.names()[f"{ONE}/{MANIFEST}"] == b"theirs"


def test_a_manifest_whose_answer_was_lost_is_found_to_be_ours(server: ObjectServer, files: dict[str, Path]) -> None:
    lost: list[str] = []

    def lose(asked: Asked) -> None:
        if asked.path.endswith(f"/{MANIFEST}") and asked.method == "PUT" and not lost:
            lost.append(asked.path)
            raise ConnectionResetError

    server.met = lose
    try:
        server.box().put(ONE, files)  # repeats it, perhaps
    except EndpointUnavailableError:
        server.box().put(ONE, files)
    assert lost
    assert is_whole(server, files)


@pytest.mark.parametrize("name", ["part-00000.p7m", SIGNATURE])
def test_an_empty_file_is_delivered(server: ObjectServer, files: dict[str, Path], name: str) -> None:
    files[name].write_bytes(b"")
    server.box().put(ONE, files)
    server.box().put(ONE, files)
    assert is_whole(server, files)


# -- stores that refuse or fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, RecipientError), (403, RecipientError), (400, EndpointUnavailableError), (404, EndpointUnavailableError),
        (500, EndpointUnavailableError), (503, EndpointUnavailableError), (507, EndpointUnavailableError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_a_store_answers_is_lasting_where_it_refuses_us(
    server: ObjectServer,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    kind: type[GovernanceError],
    method: str,
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.5)
    body = b"<Error><Code>Hidden</Code><Message>hidden words of theirs</Message></Error>"
    server.meet = lambda asked: (status, body) if asked.method == method else None
    with pytest.raises(kind) as trouble:
        server.box().put(ONE, files)
    assert says_nothing(server, trouble.value)
    assert server.names() == {}
    server.meet = lambda _: None
    server.box().put(ONE, files)
    assert is_whole(server, files)


def test_a_store_that_fails_at_any_request_leaves_a_draft_at_most(
    server: ObjectServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.5)
    server.box().put(ONE, files)
    count = len(server.asked)
    assert count >= 5
    for number in range(1, count + 1):
        server.empty()

        def fail(_: Asked, number: int = number) -> None:
            if len(server.asked) >= number:
                raise ConnectionResetError

        server.meet = fail
        with pytest.raises(EndpointUnavailableError):
            server.box().put(ONE, files)
        assert f"{ONE}/{MANIFEST}" not in server.names()
        server.meet = lambda _: None
        server.box().put(ONE, files)
        assert is_whole(server, files), number


def test_a_store_that_falls_silent_is_left_after_a_while(
    server: ObjectServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.5)
    server.meet = lambda asked: time.sleep(3) if asked.method == "PUT" else None  # type: ignore[func-returns-value]
    began = time.monotonic()
    with pytest.raises(EndpointUnavailableError):
        server.box().put(ONE, files)
    assert time.monotonic() - began < 5


class StoppedError(Exception):
    """As a timeout of the task, or somebody at the keyboard, ends a put."""


def test_a_put_that_is_interrupted_ends_its_request_before_it_ends(
    server: ObjectServer, files: dict[str, Path]
) -> None:
    """Else it would write over what the next try commits, with the recipient's lock no longer held."""
    answered: list[str] = []

    def slow(asked: Asked) -> None:
        if asked.method == "PUT":
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            time.sleep(1)
            answered.append(asked.path)

    def interrupt(*_: object) -> None:
        raise StoppedError

    server.meet = slow  # type: ignore[assignment]
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(StoppedError):
            server.box().put(ONE, files)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(answered) == 1


def test_a_store_that_is_down_is_tried_again(
    server: ObjectServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.5)
    server.say(endpoint="http://127.0.0.1:1")
    with pytest.raises(EndpointUnavailableError, match="cannot be reached") as trouble:
        server.box().put(ONE, files)
    assert says_nothing(server, trouble.value)


def test_a_bucket_that_is_not_there_is_tried_again(server: ObjectServer, files: dict[str, Path]) -> None:
    box = server.box("s3://another-bucket")
    for work in (lambda: box.put(ONE, files), box.probe, box.acknowledgements):
        with pytest.raises(EndpointUnavailableError, match="its bucket, or what was in it") as trouble:
            work()
        assert says_nothing(server, trouble.value)


def test_a_store_that_replaces_though_asked_not_to_is_noticed_by_the_probe(server: ObjectServer) -> None:
    server.met = lambda asked: (200, b"") if asked.method == "PUT" else None
    with pytest.raises(RecipientError, match="If-None-Match"):
        server.box().probe()
    server.met = lambda _: None
    server.box().probe()
    assert server.names() == {}


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "is_taken"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_key_that_others_can_read_is_not_used(server: ObjectServer, mode: int, is_taken: bool) -> None:
    (server.private / "storage.json").chmod(mode)
    if is_taken:
        server.box().probe()
        return
    with pytest.raises(RecipientError, match="others can read") as refusal:
        server.box()
    assert says_nothing(server, refusal.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"endpoint": "http://hidden.example.com"}, "endpoint"),
        ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
        ({"endpoint": "https://hidden:hidden@example.com"}, "endpoint"),
        ({"endpoint": "https://example.com?hidden"}, "endpoint"),
        ({"endpoint": "https://example.com#hidden"}, "endpoint"),
        ({"access_key_id": 7}, "access_key_id"),
        ({"secret_access_key": None}, "secret_access_key"),
        ({"password": "hidden"}, "password"),
    ],
)
def test_access_that_is_not_private_or_not_whole_is_refused_and_never_quoted(
    server: ObjectServer, changed: dict[str, object], told: str
) -> None:
    server.say(**changed)
    with pytest.raises(RecipientError, match=told) as refusal:
        server.box()
    assert says_nothing(server, refusal.value)


@pytest.mark.parametrize("endpoint", ["https://s3.example.com", "http://127.0.0.1:80", "http://[::1]:80"])
def test_tls_or_this_machine_is_private(server: ObjectServer, endpoint: str) -> None:
    server.say(endpoint=endpoint)
    server.box()


@pytest.mark.parametrize("content", [None, b"", b"hidden", b"[]", b"\xff"])
def test_access_that_is_missing_or_broken_is_said_to_be(server: ObjectServer, content: bytes | None) -> None:
    path = server.private / "storage.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RecipientError, match=r"storage\.json") as refusal:
        server.box()
    assert says_nothing(server, refusal.value)


def test_what_the_environment_says_of_a_store_counts_for_nothing(
    server: ObjectServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION"):
        monkeypatch.setenv(f"AWS_{name}", "of-somebody-else")
    for name in ("ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3"):
        monkeypatch.setenv(f"AWS_{name}", "http://127.0.0.1:1")
    for name in ("SKIP_SIGNATURE", "VIRTUAL_HOSTED_STYLE_REQUEST"):
        monkeypatch.setenv(f"AWS_{name}", "true")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    # What FSSPEC_S3_... and ~/.config/fsspec have said when fsspec was imported.
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"endpoint": "http://127.0.0.1:1", "access_key_id": "of-somebody-else"}
    )
    server.box().probe()
    server.box().put(ONE, files)
    assert is_whole(server, files)
    assert all("hidden-id" in asked.headers["authorization"] for asked in server.asked)
    assert not [asked for asked in server.asked if "of-somebody-else" in json.dumps(asked.headers)]


def test_a_key_that_was_replaced_counts_from_the_next_opening_on(server: ObjectServer) -> None:
    server.box().probe()
    assert all("hidden-id" in asked.headers["authorization"] for asked in server.asked)
    server.asked.clear()
    server.say(access_key_id="another-id")
    server.box().probe()
    assert server.asked
    assert all("another-id" in asked.headers["authorization"] for asked in server.asked)


def test_recipients_do_not_take_each_others_keys(server: ObjectServer, files: dict[str, Path]) -> None:
    shutil.copytree(server.private, server.private.with_name("another"), dirs_exist_ok=True)
    server.say(access_key_id="mine")
    box = server.box()
    outbox.opened("another", f"s3://{BUCKET}/another", server.private.parent, server.at).put(OTHER, files)
    box.put(ONE, files)
    used = {
        (asked.path.split("/")[2], "mine" in asked.headers["authorization"]) for asked in server.asked if asked.changes
    }
    assert used == {("another", False), (PREFIX.split("/")[0], True)}


def test_what_stands_for_a_store_shows_nothing_of_its_access(server: ObjectServer) -> None:
    path = places(server)[0]
    told = [repr(path), str(path), repr(path.fs), repr(path.fs.storage_args), repr(path.fs.storage_options)]
    assert not [text for text in told if "hidden" in text or str(server.port) in text], told


def test_the_secret_itself_never_travels(server: ObjectServer, files: dict[str, Path]) -> None:
    server.box().put(ONE, files)
    assert server.asked
    assert not [asked for asked in server.asked if "hidden-secret" in json.dumps([asked.path, asked.headers])]


# -- in Airflow --------------------------------------------------------------------------------------------------------


def places(server: ObjectServer) -> list[Any]:
    """Where the outbox begins, and a path in it."""
    endpoint = endpoints.parsed(RECIPIENT, server.url)
    root = (server.at or by_itself)(endpoint, buckets.Buckets(buckets.access(RECIPIENT, server.private)))
    return [root, root / ONE / MANIFEST]


@pytest.mark.airflow
def test_in_airflow_an_outbox_is_object_storage_paths(alone: ObjectServer) -> None:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.serde import serialize

    from governance.connections import in_object_storage

    alone.at = in_object_storage
    for path in places(alone):
        assert "hidden" not in str(serialize(path))
        assert isinstance(path, ObjectStoragePath)
        assert (path.protocol, path.bucket, path.conn_id) == ("s3", BUCKET, f"wellbe_outbox_{RECIPIENT}")
        assert isinstance(path.fs, buckets.Buckets)


@pytest.mark.airflow
def test_lineage_is_told_no_object_of_a_delivery(
    alone: ObjectServer, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import lineage

    from governance.connections import in_object_storage

    collector = lineage.HookLineageCollector()
    monkeypatch.setattr(lineage, "get_hook_lineage_collector", lambda: collector)
    alone.at = in_object_storage
    box = alone.box()
    box.probe()
    for _ in range(2):  # written, then compared
        box.put(ONE, files)
    alone.write(f"{ONE}.ack", b"x")
    assert box.manifest(ONE)
    assert box.deliveries() == {ONE}
    assert box.acknowledgements() == {ONE: b"x"}
    assert not collector.has_collected
    with places(alone)[1].open("rb") as manifest:  # which does tell it
        assert manifest.read() == files[MANIFEST].read_bytes()
    assert collector.has_collected
    box.remove(ONE)


# -- what is there -----------------------------------------------------------------------------------------------------


def test_what_is_not_wholly_there_has_no_manifest(server: ObjectServer, files: dict[str, Path]) -> None:
    assert server.box().manifest(ONE) is None
    server.write(f"{ONE}/{MANIFEST}", b"alone")
    assert server.box().manifest(ONE) is None
    server.write(f"{OTHER}/{SIGNATURE}", b"alone")
    assert server.box().manifest(OTHER) is None


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (0, 0),
        (LARGEST_ACKNOWLEDGEMENT, LARGEST_ACKNOWLEDGEMENT),
        (LARGEST_ACKNOWLEDGEMENT + 2, LARGEST_ACKNOWLEDGEMENT + 1),
    ],
)
def test_acknowledgements_are_what_the_recipient_put_beside_deliveries(
    server: ObjectServer, size: int, read: int
) -> None:
    server.write(f"{ONE}.ack", b"x" * size)
    for name in (f"{OTHER}.ack.tmp", "readme.ack", f"{OTHER}/{OTHER}.ack"):
        server.write(name, b"no")
    assert {name: len(content) for name, content in server.box().acknowledgements().items()} == {ONE: read}


def test_what_is_removed_is_gone_manifest_first_and_nothing_else_is(
    server: ObjectServer, files: dict[str, Path]
) -> None:
    for delivery_id in (ONE, OTHER):
        server.box().put(delivery_id, files)
        server.write(f"{delivery_id}.ack", b"")
    server.asked.clear()
    server.box().remove(ONE)
    first = next(asked for asked in server.asked if asked.changes)
    assert first.body.count(b"<Key>") == 1
    assert f"<Key>{PREFIX}/{ONE}/{MANIFEST}</Key>".encode() in first.body
    assert server.names() == expected(files, OTHER) | {f"{OTHER}.ack": b""}
    server.box().remove(ONE)


def test_drafts_of_ours_are_discarded_and_nothing_else_is(server: ObjectServer, files: dict[str, Path]) -> None:
    server.box().put(ONE, files)
    theirs = {f"{ONE}.ack": b"", "readme": b"", "theirs/part": b"", f"{ONE[:-1]}/part": b"", OTHER[:-1] + "0": b""}
    for name, content in theirs.items():
        server.write(name, content)
    server.write(f"{OTHER}/part-00000.p7m", b"left")
    server.write(f"{OTHER}/{SIGNATURE}", b"left")
    assert server.box().discard_drafts() == 1
    assert server.names() == expected(files) | theirs
    assert server.box().discard_drafts() == 0


def test_a_bucket_may_be_the_recipients_alone(server: ObjectServer, files: dict[str, Path]) -> None:
    box = server.box(f"s3://{BUCKET}")
    box.put(ONE, files)
    assert server.names("") == expected(files)
    assert box.discard_drafts() == 0


# -- kills, and large parts --------------------------------------------------------------------------------------------

PUT = """
import json, sys
from pathlib import Path
from governance.sharing import outbox
recipient, url, secrets, delivery_id, files = json.loads(sys.stdin.read())
outbox.opened(recipient, url, Path(secrets)).put(delivery_id, {name: Path(path) for name, path in files.items()})
assert "airflow" not in sys.modules
# What getrusage tells would count our parent's too.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def putting(server: ObjectServer, files: dict[str, Path]) -> subprocess.Popen[str]:
    """A process that puts and prints the most KiB it held; not a fork, for the client has threads."""
    process = subprocess.Popen(
        [sys.executable, "-c", PUT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "plugins")},
    )  # fmt: skip
    assert process.stdin is not None
    told = {name: str(path) for name, path in files.items()}
    process.stdin.write(json.dumps([RECIPIENT, server.url, str(server.private.parent), ONE, told]))
    process.stdin.close()
    return process


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["meet", "met"])
def test_a_put_that_is_killed_anywhere_leaves_all_or_a_draft_and_the_next_delivers_the_same(
    alone: ObjectServer, files: dict[str, Path], moment: str
) -> None:
    alone.box().put(ONE, files)
    count = len(alone.asked)
    for number in range(1, count + 1):
        alone.empty()
        processes: list[subprocess.Popen[str]] = []

        def kill(_: Asked, number: int = number, processes: list[subprocess.Popen[str]] = processes) -> None:
            if len(alone.asked) == number:
                while not processes:
                    time.sleep(0.01)
                processes[0].kill()
                processes[0].wait()

        setattr(alone, moment, kill)
        processes.append(putting(alone, files))
        assert processes[0].wait(60) == -9
        alone.meet = alone.met = lambda _: None
        with alone._busy:  # what was asked before is answered
            there = alone.names()
        assert f"{ONE}/{MANIFEST}" not in there or there == expected(files), number
        alone.box().put(ONE, files)
        assert is_whole(alone, files), number


@pytest.mark.slow
def test_a_part_of_256_megabytes_streams_in_and_a_try_that_fails_in_it_commits_nothing(
    alone: ObjectServer, tmp_path: Path
) -> None:
    files = sealed(tmp_path / "sealed", parts=1)
    with files["part-00000.p7m"].open("wb") as part:
        for _ in range(256):
            part.write(os.urandom(1 << 20))

    def refuse(asked: Asked) -> tuple[int, bytes] | None:
        return (403, b"") if "partNumber=9&" in asked.path else None

    alone.meet = refuse
    with pytest.raises(RecipientError):
        alone.box().put(ONE, files)
    assert alone.names() == {}
    alone.meet = lambda _: None
    for _ in range(2):  # written, then compared
        with putting(alone, files) as process:
            assert process.stdout is not None
            assert int(process.stdout.read()) < 128 * 1024
        assert process.returncode == 0
    found = alone.direct("GET", f"/{BUCKET}/{PREFIX}/{ONE}/part-00000.p7m")[1]
    assert found == files["part-00000.p7m"].read_bytes()
