"""URLs of endpoints: what they name, and that no secret and no trick gets into one, nor into a message about one."""

from __future__ import annotations

import pytest

from governance.errors import PolicyError
from governance.sharing.endpoints import Endpoint, parsed


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:///srv/outbox/clinic_1", Endpoint("clinic", "file", "/srv/outbox/clinic_1")),
        ("file:///srv/outbox/", Endpoint("clinic", "file", "/srv/outbox")),
        ("sftp://w@sftp.example.com/in", Endpoint("clinic", "sftp", "/in", "sftp.example.com", "w", 22)),
        ("sftp://w@127.0.0.1:2022/in/x", Endpoint("clinic", "sftp", "/in/x", "127.0.0.1", "w", 2022)),
        ("sftp://w@[::1]:2022/in", Endpoint("clinic", "sftp", "/in", "::1", "w", 2022)),
        ("s3://bucket", Endpoint("clinic", "s3", "", "bucket")),
        ("s3://bucket.eu/deliveries/clinic-1/", Endpoint("clinic", "s3", "/deliveries/clinic-1", "bucket.eu")),
    ],
)
def test_a_url_names_an_endpoint(url: str, expected: Endpoint) -> None:
    assert parsed("clinic", url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sftp://w:hidden@sftp.example.com/in", "password"),
        ("sftp://w:@sftp.example.com/in", "password"),
        ("s3://key:hidden@bucket/in", "password"),
        ("file://u:hidden@/srv", "password"),
        ("ftp://hidden.example.com/in", "none of"),
        ("gs://hidden/in", "none of"),
        ("abfs://hidden/in", "none of"),
        ("/srv/hidden", "none of"),
        ("", "none of"),
        ("sftp://w@hidden.example.com:99999/in", "no URL"),
        ("sftp://w@[hidden/in", "no URL"),
        ("sftp://w@hidden.example.com:x/in", "no URL"),
        ("sftp://w@hidden.example.com:0/in", "does not look like"),
        ("sftp://hidden.example.com/in", "does not look like"),
        ("sftp://-oProxyCommand@hidden.example.com/in", "does not look like"),
        ("sftp://w@-hidden/in", "does not look like"),
        ("sftp:///hidden", "does not look like"),
        ("file://hidden/srv", "does not look like"),
        ("s3:/hidden", "does not look like"),
        ("s3://hidden@bucket/in", "does not look like"),
        ("s3://bucket:80/hidden", "does not look like"),
        ("file:srv/hidden", "path"),
        ("file:///", "path"),
        ("sftp://w@hidden.example.com", "path"),
        ("file:///srv/../hidden", "path"),
        ("file:///srv//hidden", "path"),
        ("file:///srv/.hidden", "path"),
        ("file:///srv/%2e%2e/hidden", "path"),
        ("file:///srv/hid den", "path"),
        ("file:///srv?hidden=1", "after its path"),
        ("s3://bucket/hidden?", "after its path"),
        ("s3://bucket/in#hidden", "after its path"),
        ("file:///srv/hid\nden", "plain way"),
        (" file:///srv/hidden", "plain way"),
        ("FILE:///srv/hidden", "plain way"),
    ],
)
def test_a_url_that_says_too_much_or_nothing_is_refused_and_never_quoted(url: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told) as refusal:
        parsed("clinic", url)
    assert "recipient clinic" in str(refusal.value)
    assert "hid" not in str(refusal.value).replace("hidden folders", "")


@pytest.mark.parametrize(
    ("one", "other", "is_held"),
    [
        ("file:///srv/in", "file:///srv/in/", True),
        ("file:///srv/in", "file:///srv/in/clinic", True),
        ("file:///srv/in/clinic", "file:///srv/in", False),
        ("file:///srv/in", "file:///srv/in2", False),
        ("s3://bucket", "s3://bucket/clinic", True),
        ("s3://bucket", "s3://bucket2/clinic", False),
        ("s3://srv", "file:///srv/in", False),
        ("sftp://w@sftp.example.com/in", "sftp://w@sftp.example.com:22/in", True),
        ("sftp://w@sftp.example.com/in", "sftp://w@SFTP.example.com/in/x", True),
        ("sftp://w@sftp.example.com/in", "sftp://w@sftp.example.com:2022/in", False),
        ("sftp://w@sftp.example.com/in", "sftp://x@sftp.example.com/in", False),  # each account has a root of its own
    ],
)
def test_an_endpoint_holds_what_is_itself_or_within_it(one: str, other: str, is_held: bool) -> None:
    assert parsed("clinic", one).holds(parsed("hotel", other)) == is_held
