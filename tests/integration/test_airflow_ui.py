"""What a data engineer sees: Airflow's UI in a real browser, before other tests stop the site."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from governance.embedded import demo
from governance.embedded.site import UI_USER, Site

pytestmark = [pytest.mark.airflow, pytest.mark.pg, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page(live: Site) -> Iterator[Page]:
    """A browser that has logged in, and notes every address that it asks."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    demo.wait_for_dags(live)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(live.api_url)
        page.fill("input[name=username]", UI_USER)
        page.fill("input[name=password]", live.ui_password)
        page.click("button[type=submit]")
        # The page of the login has such an address itself: going on from there aborts the login.
        page.wait_for_url(lambda url: url.startswith(live.api_url) and not urlsplit(url).path.startswith("/auth/"))
        yield page
        browser.close()


@pytest.mark.parametrize("dag", demo.DATASETS)
def test_a_dag_is_there_with_its_owner_and_what_to_do_when_it_fails(live: Site, page: Page, dag: str) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.goto(f"{live.api_url}/dags/{dag}")
    page.get_by_text("data-engineering").first.wait_for()
    page.get_by_text("predecessor_published").first.wait_for()
    page.get_by_role("button", name="Dag Docs").or_(page.get_by_label("Dag Docs")).first.click()
    page.get_by_text("A failure means").first.wait_for()
    assert {host for host in asked if host} == {f"127.0.0.1:{live.api_port}"}
