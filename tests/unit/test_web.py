"""What a page view may keep of browser, page, place and address (policy clauses B1, B2)."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from governance import web
from governance.errors import GovernanceError
from governance.web import (
    browsers,
    coordinate_pairs,
    device_classes,
    grid,
    ip_versions,
    language_regions,
    operating_systems,
    page_categories,
    paths,
)

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.1 Mobile/15E148 Safari/604.1"
)
IPAD = IPHONE.replace("iPhone; CPU iPhone", "iPad; CPU")
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; {model}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 {m}Safari/537.36"
)
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0"
MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_1) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15"
)


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


@pytest.mark.clause("B2")
@pytest.mark.parametrize(
    ("user_agent", "device_class"),
    [
        (IPHONE, "mobile"),
        (ANDROID.format(model="Pixel 8", m="Mobile "), "mobile"),
        (ANDROID.format(model="CUBOT X19", m="Mobile "), "mobile"),  # a telephone, no robot
        ("Dalvik/2.1.0 (Linux; U; Android 13; SM-A536B Build/TP1A)", "mobile"),
        ("Opera/9.80 (J2ME/MIDP; Opera Mini/7.1; U; en) Presto/2.8", "mobile"),
        ("Wellbe/3.2 (iOS 17.1)", "mobile"),
        (IPAD, "tablet"),
        (ANDROID.format(model="SM-X700", m=""), "tablet"),
        ("Mozilla/5.0 (Android; Tablet; rv:132.0) Gecko/132.0 Firefox/132.0", "tablet"),
        (WINDOWS, "desktop"),
        (MAC, "desktop"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36", "desktop"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot"),
        (IPHONE + " (compatible; Googlebot/2.1)", "bot"),  # a robot that looks like a telephone
        ("Mozilla/5.0 (compatible; archive.org_bot +http://archive.org)", "bot"),
        ("curl/8.4.0", "bot"),
        ("python-requests/2.32", "bot"),
        ("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/130.0", "bot"),
        ("Mozilla/5.0 (compatible; Yahoo! Slurp)", "bot"),
        ("-", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_every_user_agent_has_one_of_five_classes(user_agent: str | None, device_class: str) -> None:
    assert device_classes(texts(user_agent)).to_pylist() == [device_class]


def test_a_robot_that_only_the_library_knows_is_a_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    spider = web.ua_parser.Device("Spider", "Spider", "Desktop")
    monkeypatch.setattr(web.ua_parser, "parse_device", lambda agent: spider)
    assert device_classes(texts(WINDOWS)).to_pylist() == ["bot"]


@pytest.mark.clause("B1")
def test_browser_and_system_are_families_without_versions() -> None:
    agents = texts(IPHONE, WINDOWS, MAC, ANDROID.format(model="Pixel 8", m="Mobile "), "nonsense", None)
    assert browsers(agents).to_pylist() == ["Mobile Safari", "Firefox", "Safari", "Chrome Mobile", "unknown", "unknown"]
    assert operating_systems(agents).to_pylist() == ["iOS", "Windows", "Mac OS X", "Android", "unknown", "unknown"]


def test_only_the_beginning_of_a_user_agent_is_read() -> None:
    beyond = " " * web.LONGEST_USER_AGENT + WINDOWS
    assert browsers(texts(beyond, beyond[1:])).to_pylist() == ["unknown", "unknown"]
    assert operating_systems(texts("x" * 10_000_000)).to_pylist() == ["unknown"]


def test_user_agents_keep_their_place_in_chunks() -> None:
    agents = pa.chunked_array([[WINDOWS, None], [IPHONE, WINDOWS]], pa.string())
    assert device_classes(agents).to_pylist() == ["desktop", "unknown", "mobile", "desktop"]
    assert device_classes(texts()).to_pylist() == []


@pytest.mark.clause("B1")
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/", "/"),
        ("/clinics/7", "/clinics/7"),
        ("/clinics?name=anna&mail=a@example.com", "/clinics"),
        ("/clinics#anna", "/clinics"),
        ("/clinics?a#b?c", "/clinics"),
        ("/?", "/"),
        ("https://wellbe.example/clinics?x", "/clinics"),
        ("https://anna:secret@wellbe.example:8443/a", "/a"),
        ("https://wellbe.example", "/"),
        ("https://wellbe.example?x=1", "/"),
        ("HTTP://wellbe.example/a//b", "/a//b"),
        ("/go?to=https://other.example/x", "/go"),
        ("/a;jsessionid=0815/b;v=2", "/a/b"),
        ("/åäö/%20", "/åäö/%20"),
        ("", ""),  # for the suite to find
        ("?x=1", ""),
        ("clinics", "clinics"),
        (None, None),
        ("/a\nb", None),  # control characters
        ("/a?x=\x00", None),
        ("/a\x7f", None),
        ("/a\x85", None),
        ("/a\u2028b", None),
        ("/" + "a" * 2047, "/" + "a" * 2047),
        ("/" + "a" * 2048, None),
        ("/a?" + "x" * 5000, "/a"),
    ],
)
def test_of_a_url_only_the_path_is_left(url: str | None, path: str | None) -> None:
    assert paths(texts(url)).to_pylist() == [path]


def test_paths_keep_their_place_in_chunks() -> None:
    assert paths(pa.chunked_array([["/a?b"], [None, "/c"]], pa.string())).to_pylist() == ["/a", None, "/c"]


@pytest.mark.clause("B1")
def test_the_longest_prefix_names_the_category() -> None:
    table = {"/clinics/prices": "prices", "/": "home", "/clinics/": "clinic"}
    found = page_categories(texts("/clinics/prices/7", "/clinics/7", "/clinics", "/x", "x", "", None), table)
    assert found.to_pylist() == ["prices", "clinic", "home", "home", "other", "other", "other"]


def test_without_a_table_every_page_is_other() -> None:
    assert page_categories(pa.chunked_array([["/a"], [None]], pa.string()), {}).to_pylist() == ["other", "other"]
    assert page_categories(texts(), {"/": "home"}).to_pylist() == []


@pytest.mark.clause("B1")
@pytest.mark.parametrize(
    ("tag", "region"),
    [
        ("sv-SE", "SE"),
        ("SV-se", "SE"),
        ("en_GB", "GB"),
        ("en_GB.UTF-8", "GB"),
        ("de_DE@euro", "DE"),
        ("zh-Hant-TW", "TW"),
        ("zh-yue-HK", "HK"),
        ("zh-yue-Hant-HK", "HK"),
        ("sl-IT-nedis", "IT"),
        ("de-CH-x-phonebk", "CH"),
        ("sv", "unknown"),
        ("zh-Hant", "unknown"),
        ("es-419", "unknown"),  # Latin America: a UN M.49 number
        ("en-UK", "unknown"),  # reserved, not assigned
        ("en-EU", "unknown"),
        ("en-XX", "unknown"),
        ("en-ZZ", "unknown"),
        ("en-x-SE", "unknown"),  # private use
        ("en-a-SE", "unknown"),
        ("i-klingon", "unknown"),
        ("*", "unknown"),
        ("-SE", "unknown"),
        ("sv-\u017fE", "unknown"),  # a long s is no letter of a tag
        ("sv-SE\n", "unknown"),
        ("sv-SE,en;q=0.8", "unknown"),  # a header, no tag
        ("sv-SE" + "-x" * 100, "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_language_tag_gives_its_assigned_region_or_unknown(tag: str | None, region: str) -> None:
    assert language_regions(texts(tag)).to_pylist() == [region]


def test_all_249_assigned_regions_are_known_and_none_twice() -> None:
    codes = web.ASSIGNED.split()
    assert len(codes) == len(web.REGIONS) == 249
    assert {code for code in codes if len(code) == 2 and code.isascii() and code.isupper()} == web.REGIONS


@pytest.mark.clause("B2")
@pytest.mark.parametrize(
    ("value", "degrees", "centre"),
    [
        (59.3293, 0.1, 59.35),
        (59.3, 0.1, 59.25),  # an edge belongs to the cell towards zero
        (-33.92, 0.1, -33.95),
        (0.0, 0.1, 0.05),
        (-0.0, 0.1, 0.05),
        (-1e-12, 0.1, -0.05),
        (90.0, 0.1, 89.95),
        (-180.0, 0.1, -179.95),
        (180.0, 0.25, 179.875),
        (90.0, 0.3, 89.85),
        (45.1, 90.0, 45.0),
        (90.001, 0.1, 90.05),  # out of range stays out of range
        (123.4, 0.1, 123.35),
        (999.0, 0.5, 998.75),
        (-999.0, 0.5, -998.75),
        (1e308, 0.1, 999_999.95),
    ],
)
def test_a_coordinate_becomes_the_centre_of_its_cell(value: float, degrees: float, centre: float) -> None:
    assert grid(pa.array([value]), degrees).to_pylist() == [centre]


@pytest.mark.clause("B2")
def test_what_is_no_number_becomes_null_and_stays_visible_as_a_pair() -> None:
    odd = pa.chunked_array([[math.nan, math.inf], [-math.inf, None]], pa.float64())
    assert grid(odd, 0.1).to_pylist() == [None] * 4
    sound = pa.array([18.0] * 4)
    assert coordinate_pairs(odd, sound).to_pylist() == ["not_finite"] * 3 + ["half"]
    assert coordinate_pairs(sound, odd).to_pylist() == ["not_finite"] * 3 + ["half"]
    nothing = pa.array([None] * 4, pa.float64())
    assert coordinate_pairs(nothing, odd).to_pylist() == ["not_finite"] * 3 + ["neither"]
    assert coordinate_pairs(sound, sound).to_pylist() == ["both"] * 4


@pytest.mark.parametrize("degrees", [0.0, -0.1, 91.0, 0.7, math.nan, math.inf])
def test_a_grid_that_does_not_fit_the_globe_is_refused(degrees: float) -> None:
    with pytest.raises(GovernanceError, match="whole number of cells"):
        grid(pa.array([1.0]), degrees)


@pytest.mark.clause("B1")
@pytest.mark.parametrize(
    ("ip", "version"),
    [
        ("192.0.2.1", 4),
        ("0.0.0.0", 4),
        ("2001:db8::1", 6),
        ("::ffff:192.0.2.1", 6),
        ("192.0.2.256", None),
        ("192.0.2", None),
        ("192.0.2.01", None),
        ("192.0.2.0/24", None),
        ("2001:db8:::1", None),
        ("localhost", None),
        (" 192.0.2.1", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_is_of_version_4_or_6_or_malformed(ip: str | None, version: int | None) -> None:
    found = ip_versions(texts(ip))
    assert found.type == pa.int16()
    assert found.to_pylist() == [version]
