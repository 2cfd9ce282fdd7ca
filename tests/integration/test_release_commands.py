"""What a person sees of releases: listed, shown, compared, exported, and plotted on a page that a browser opens."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

import builders
from aftermath import entries, governance, through
from builders import DAY, NOW, World
from governance import analytics_contract
from governance.embedded import site as sites
from governance.embedded.site import CHECKOUT, Site

pytestmark = [pytest.mark.pg, pytest.mark.clause("E1")]

LATER = DAY + timedelta(days=1)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def released(site: Site) -> Iterator[Site]:
    """Two released days of bookings, of 20 and 30 rows, ten held on the second; one of visits."""
    world = World(site.dsn("wellbe_owner"))
    world.clear()
    builders.empty_warehouse(site)
    space = builders.workspace(site, now=NOW + timedelta(days=1))
    world.crowd(20)
    world.visitors()
    for dataset in ("bookings", "visits"):
        through(space, dataset, DAY.isoformat())
    world.day = LATER
    world.crowd(30)
    world.apart(10)
    through(space, "bookings", LATER.isoformat())
    world.close()
    yield site
    builders.empty_warehouse(site)


@pytest.fixture(autouse=True)
def _here(released: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "default_data_dir", lambda: released.data_dir)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command says with --json."""
    capsys.readouterr()
    assert governance("releases", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_every_release_is_listed_with_its_figures_and_its_digest(
    released: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "list")
    figures = [(r["dataset"], r["partition_key"], r["k"], r["l"], r["rows"], r["suppressed"]) for r in found]
    assert figures == [
        ("bookings", "2026-03-10", 20, 2, 20, 0),
        ("bookings", "2026-03-11", 30, 2, 30, 0),
        ("visits", "2026-03-10", None, None, None, None),  # exact figures would undo the noise
    ]
    assert {tuple(release["sha256"]) for release in found} == {
        ("bookings", "bookings_events", "bookings_events_origins"),
        ("inquiries_funnel", "visits_regions", "visits_search_to_booking", "visits_sessions"),
    }
    assert [r["partition_key"] for r in told(capsys, "list", "--dataset", "visits")] == ["2026-03-10"]
    assert governance("releases", "list") == 0
    out = capsys.readouterr().out
    assert all(release["sha256"][table][:16] in out for release in found for table in release["sha256"])
    assert governance("releases", "list", "--dataset", "bokings") == 78


def test_a_release_is_shown_with_what_was_measured_said_noted_and_logged(
    released: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "show", "bookings", LATER.isoformat())
    assert (found["release"]["k"], found["release"]["suppressed"]) == (30, 0)
    assert found["settings"]["k"] == "10"
    assert found["notes"] == []
    assert {"dimension": "origin_continent", "value": "europe", "published": 30, "missing_at_least": 10,
            "share_at_most": 0.75} in found["bias"]  # fmt: skip
    entry = [e for e in entries(released, "publish", "outcome") if e["partition_key"] == LATER.isoformat()][0]
    assert found["published_by"] == {
        "log_entry_id": entry["entry_id"], "run_id": entry["run"]["run_id"], "policy": entry["digests"]["policy"],
        "measures": entry["measures"],
    }  # fmt: skip
    assert (
        entry["measures"] | {"k": 30, "l": 2, "ncp": 0.0, "delay_median": 0.0, "suppressed_first": 0}
        == (entry["measures"])
    )
    assert governance("releases", "show", "bookings", LATER.isoformat()) == 0
    out = capsys.readouterr().out
    assert "origin_continent europe: 30 published, at least 10 missing" in out
    assert entry["entry_id"] in out
    assert governance("releases", "show", "bookings", "2026-03-15") == 65
    visits = told(capsys, "show", "visits", DAY.isoformat())
    (entry,) = [e for e in entries(released, "publish", "outcome") if e["dataset"] == "visits"]
    assert entry["measures"].keys() >= {"k", "l", "epsilon", "delta"}
    assert visits["published_by"]["measures"].keys() == entry["measures"].keys() - {"k", "l"}


def test_two_releases_are_compared_one_column_at_a_time(released: Site, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "diff", "bookings", DAY.isoformat(), LATER.isoformat())
    assert found["measures"] == {"k": [20, 30], "l": [2, 2], "rows": [20, 30], "suppressed": [0, 0]}
    assert found["settings"] == {}
    assert found["counts"]["bookings.service_specialty"] == {"dental": [10, 15], "ophthalmology": [10, 15]}
    columns = builders.POLICY.dataset("bookings").release.columns
    noisy = {"bookings_events.booking_event", "bookings_events.service_specialty",
             "bookings_events_origins.booking_event", "bookings_events_origins.origin_continent"}  # fmt: skip
    texts = {f"bookings.{name}" for name, spec in columns.items() if spec.type == "text"}
    assert noisy <= set(found["counts"]) <= texts | noisy
    assert governance("releases", "diff", "bookings", DAY.isoformat(), LATER.isoformat()) == 0
    assert "bookings.service_specialty = dental" in capsys.readouterr().out
    assert governance("releases", "diff", "bookings", DAY.isoformat(), "2026-03-15") == 65


def test_a_release_is_exported_as_parquet_that_says_where_it_is_from(
    released: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bookings.parquet"
    assert governance("releases", "export", "bookings", LATER.isoformat(), str(file)) == 0
    table = pyarrow.parquet.read_table(file)
    columns = builders.POLICY.dataset("bookings").release.columns
    query = f"SELECT {', '.join(columns)} FROM analytics.bookings WHERE recorded_date = '{LATER}'"
    seen = builders.read(released, query, role="analyst")
    assert table.column_names == list(columns)
    assert sorted(tuple(row.values()) for row in table.to_pylist()) == sorted(seen)
    about = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    shown = told(capsys, "show", "bookings", LATER.isoformat())
    assert about["wellbe.k"] == "30"
    assert about["wellbe.l"] == "2"
    assert about["wellbe.suppressed"] == "0"
    assert about["wellbe.policy"] == shown["published_by"]["policy"]
    assert about["wellbe.run_id"] == shown["published_by"]["run_id"]
    assert about["wellbe.log_entry_id"] == shown["published_by"]["log_entry_id"]
    assert about["wellbe.release_sha256"] == shown["release"]["sha256"]["bookings"]
    field = table.schema.field("service_specialty").metadata
    assert field[b"kind"] == b"sensitive"

    before = hashlib.sha256(file.read_bytes()).hexdigest()
    assert governance("releases", "export", "bookings", DAY.isoformat(), str(file)) == 65
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    again = tmp_path / "again.parquet"
    assert governance("releases", "export", "bookings", LATER.isoformat(), str(again)) == 0
    assert again.read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.parquet", "bookings.parquet"]


def test_counts_of_events_are_exported_without_an_exact_number_beside_them(released: Site, tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    day = LATER.isoformat()
    assert governance("releases", "export", "bookings", day, str(file), "--table", "bookings_events") == 0
    table = pyarrow.parquet.read_table(file)
    seen = builders.read(released, f"SELECT * FROM analytics.bookings_events WHERE recorded_date = '{LATER}'")
    assert sorted(tuple(row.values()) for row in table.to_pylist()) == sorted(seen)
    about = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert {about[f"wellbe.{figure}"] for figure in ("k", "l", "suppressed")} == {"-"}
    assert json.loads(about["wellbe.measures"]) == {"epsilon": 1.0, "delta": 0.0}


def test_a_table_that_the_dataset_does_not_publish_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("bookings", LATER.isoformat(), str(tmp_path / "x.parquet"), "--table", "visits_sessions")
    assert governance("releases", "export", *arguments) == 65
    assert "say with --table which one: bookings" in capsys.readouterr().err


def test_the_report_opens_in_a_browser_and_shows_every_figure_without_asking_anybody(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    assert governance("releases", "report", str(file)) == 0
    text = file.read_text("utf-8")
    assert "http" not in text
    assert "<script" not in text
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    asked: list[str] = []
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 900, "height": 1200})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.goto(file.as_uri())
        plots = page.get_by_role("img")
        # Of bookings everything; of visits what was carried over, because the rest is exact. The others say so.
        assert plots.count() == 5
        assert page.get_by_text("Not measured for these releases.").count() == 3
        names = plots.evaluate_all("all => all.map(one => one.querySelector('title').textContent)")
        assert names == ["Groups: k and l", "Loss: NCP", "Delay in days", "Rows", "Rows"]
        boxes = [plots.nth(number).bounding_box() for number in range(5)]
        assert all(box and box["width"] > 300 and box["height"] > 90 for box in boxes)
        page.get_by_text("Figures").first.click()
        rows = page.locator("table").first.locator("tbody tr").all_inner_texts()
        assert [row.split("\t")[:3] for row in rows] == [["2026-03-10", "20", "2"], ["2026-03-11", "30", "2"]]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert asked == [file.as_uri()]
    assert problems == []


def test_the_contract_is_written_anew_and_never_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    committed = CHECKOUT / "expectations" / "contracts" / "analytics.yaml"
    file = tmp_path / "analytics.yaml"
    file.write_bytes(committed.read_bytes())
    assert governance("releases", "contract", str(file)) == 0
    assert file.read_bytes() == committed.read_bytes()
    older = yaml.safe_load(committed.read_text("utf-8"))
    removed = older["schema"][0]["properties"].pop()
    file.write_text(analytics_contract.text(older), "utf-8")
    assert governance("releases", "contract", str(file)) == 0
    major, minor, _ = map(int, older["version"].split("."))
    assert yaml.safe_load(file.read_text("utf-8"))["version"] == f"{major}.{minor + 1}.0"
    older["schema"][0]["properties"] += [removed, {"name": "gone", "physicalType": "text"}]
    file.write_text(analytics_contract.text(older), "utf-8")
    before = file.read_bytes()
    capsys.readouterr()
    assert governance("releases", "contract", str(file)) == 78
    assert "analytics.bookings.gone would be removed, or renamed; nothing was written" in capsys.readouterr().err
    assert file.read_bytes() == before
