"""A world of its own for each test: an empty source, an empty warehouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import builders
from builders import World
from governance.embedded import site as sites
from governance.embedded.site import Site
from governance.steps import Workspace


@pytest.fixture
def world(site: Site) -> Iterator[World]:
    """An empty source and an empty warehouse."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    yield world
    world.close()
    builders.log_names_nobody(site)


@pytest.fixture
def space(site: Site) -> Workspace:
    """A workspace two days after the world's first day."""
    return builders.workspace(site)


@pytest.fixture
def here(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The commands work on this site."""
    monkeypatch.setattr(sites, "default_data_dir", lambda: site.data_dir)
    return site
