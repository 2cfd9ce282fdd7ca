"""Connections that stay open: one login for many uses, and a new one where the server has let go of the old one."""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extensions
import pytest

import builders
from governance import patience
from governance.embedded.site import Site
from governance.kept_open import kept_open

pytestmark = pytest.mark.pg


def process(connection: psycopg2.extensions.connection) -> int:
    """The server's process behind a connection, which is closed after that."""
    with contextlib.closing(connection) as opened, opened.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((pid,),) = cursor.fetchall()
        return int(pid)


def ended(site: Site, pid: int) -> None:
    """The server ends a process, and it is gone."""
    assert builders.read(site, "SELECT pg_terminate_backend(%s, 5000)", pid, role="postgres") == [(True,)]


def test_a_connection_serves_whoever_connects_there_next_and_is_closed_at_the_end(site: Site) -> None:
    with kept_open(site.dsn("recorder")):
        first = process(patience.connect(site.dsn("recorder")))
        assert process(patience.connect(site.dsn("recorder"))) == first
    assert process(patience.connect(site.dsn("recorder"))) != first


def test_of_any_other_address_each_connection_is_a_login_of_its_own(site: Site) -> None:
    with kept_open(site.dsn("recorder")):
        first = process(patience.connect(site.dsn("coordinator")))
        assert process(patience.connect(site.dsn("coordinator"))) != first


def test_two_that_are_in_use_at_once_are_two_and_one_of_them_stays(site: Site) -> None:
    with kept_open(site.dsn("recorder")):
        with contextlib.closing(patience.connect(site.dsn("recorder"))) as outer:
            inner = process(patience.connect(site.dsn("recorder")))
            assert inner != outer.info.backend_pid
        assert process(patience.connect(site.dsn("recorder"))) == inner


def test_one_that_the_server_has_ended_is_opened_anew(site: Site) -> None:
    with kept_open(site.dsn("recorder")):
        first = process(patience.connect(site.dsn("recorder")))
        ended(site, first)
        assert process(patience.connect(site.dsn("recorder"))) != first


def test_one_that_is_lost_in_use_does_not_come_back(site: Site) -> None:
    with kept_open(site.dsn("recorder")):
        opened = patience.connect(site.dsn("recorder"))
        first = opened.info.backend_pid
        ended(site, first)
        opened.close()
        assert process(patience.connect(site.dsn("recorder"))) != first


def test_what_was_not_committed_is_gone_when_it_is_used_again(site: Site) -> None:
    with kept_open(site.dsn("recorder")):
        with contextlib.closing(patience.connect(site.dsn("recorder"))) as opened, opened.cursor() as cursor:
            cursor.execute("SELECT set_config('governance.left', 'behind', true)")
        with contextlib.closing(patience.connect(site.dsn("recorder"))) as opened, opened.cursor() as cursor:
            cursor.execute("SELECT coalesce(current_setting('governance.left', true), '')")
            assert cursor.fetchall() == [("",)]
            assert opened.status == psycopg2.extensions.STATUS_BEGIN
