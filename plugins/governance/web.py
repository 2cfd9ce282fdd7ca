"""What a page view may keep of a browser, an address and a place (policy clauses B1, B2).

Each function replaces a value that points at a visitor by a coarse one that describes many: user agent by family and
class, URL by path, language tag by region, coordinate by grid cell, IP address by its version. Coarse is not anonymous:
the results are still visitor data until a release has measured its groups.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ua_parser

from governance.errors import GovernanceError

UNKNOWN = "unknown"
OTHER = "other"
LONGEST_USER_AGENT = (
    1024  # characters; what comes after tells nothing, and a regex per user agent should not read novels
)
LONGEST_PATH = 2048  # characters
LONGEST_TAG = 64  # characters; RFC 5646 section 4.4.1 asks for 35
FARTHEST = 1e6  # degrees: no such place, and no overflow either

# Robots name themselves, or leave an address; Cubot makes telephones.
BOT = re.compile(
    r"(?<!cu)bot(?:\b|_)|crawl|spider|slurp|curl/|wget/|python-|java/|headless|monitor|https?://"
    r"|feed(?:parser|burner|bin|fetcher|ly)|\brss\b",
    re.I,
)
TABLET = re.compile(r"ipad|tablet|playbook|kindle|silk/|\bkf[a-z]{2,4} build", re.I)
MOBILE = re.compile(r"mobi|dalvik/|iphone|ipod|opera mini|midp|symbian|blackberry|windows phone", re.I)
DESKTOPS = """
    Windows, Mac OS X, Mac OS, Linux, Ubuntu, Debian, Fedora, Red Hat, SUSE, Gentoo, Mint, Arch Linux, Slackware,
    CentOS, Kubuntu, Puppy, Mageia, Mandriva, PCLinuxOS, Chrome OS, FreeBSD, OpenBSD, NetBSD, DragonFly BSD, Solaris
"""
DESKTOP_SYSTEMS = frozenset(name.strip() for name in DESKTOPS.split(","))

# ISO 3166-1 alpha-2, the officially assigned codes (249). 'UK' and 'EU' are reserved, not assigned.
ASSIGNED = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
REGIONS = frozenset(ASSIGNED.split())
# language, up to three extended languages, script, region; POSIX writes '_' for '-' and an encoding behind a dot.
REGION = re.compile(r"[a-z]{2,8}(?:[-_][a-z]{3}){0,3}(?:[-_][a-z]{4})?[-_]([a-z]{2})(?:[-_.@].*)?", re.I | re.S | re.A)
LANGUAGE = re.compile(r"([a-z]{2,8})(?:$|[-_.@])", re.I | re.A)


def device_classes(user_agents: pa.Array) -> pa.Array:
    """The class of device of each user agent: 'mobile', 'tablet', 'desktop', 'bot' or 'unknown' (also for NULL).

    String array of length n in, string array of length n without NULL out. A user agent is what its sender says it is;
    a robot that calls itself a browser is counted as one. Source: ua-parser's device and system families; policy clause
    B2.

    >>> device_classes(pa.array(["Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) Mobile", None])).to_pylist()
    ['mobile', 'unknown']
    """
    return _of_each_user_agent(user_agents, _device_class)


def browsers(user_agents: pa.Array) -> pa.Array:
    """The family of browser of each user agent, without version: 'Firefox', 'Mobile Safari', ..., or 'unknown'.

    String array of length n in, string array of length n without NULL out. Source: ua-parser; policy clause B1.

    >>> browsers(pa.array(["Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", ""])).to_pylist()
    ['Firefox', 'unknown']
    """
    return _of_each_user_agent(user_agents, lambda agent: _family(ua_parser.parse_user_agent(agent)))


def operating_systems(user_agents: pa.Array) -> pa.Array:
    """The family of operating system of each user agent, without version: 'Windows', 'iOS', ..., or 'unknown'.

    String array of length n in, string array of length n without NULL out. Source: ua-parser; policy clause B1.

    >>> operating_systems(pa.array(["Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101"])).to_pylist()
    ['Linux']
    """
    return _of_each_user_agent(user_agents, lambda agent: _family(ua_parser.parse_os(agent)))


def paths(urls: pa.Array) -> pa.Array:
    """The path of each URL: query string, fragment and path parameters (`;jsessionid=...`) cut, scheme and host
    dropped.

    String array of length n in and out. NULL stays NULL, and a URL with a control character or a path of more than
    2,048 characters becomes NULL. What does not begin with '/' is returned as it stands, for the suite to find; an
    absolute URL without a path is '/'. A path may still name a person (`/anna`): publish page categories, not paths.
    Source: RFC 3986 sections 3.3 to 3.5 and 6.2.3; policy clause B1; GDPR article 5(1)(c).

    >>> paths(pa.array(["/clinics/7?name=anna#top", "https://wellbe.example?x=1", "/a;sid=1/b", None])).to_pylist()
    ['/clinics/7', '/', '/a/b', None]
    """
    refused = pc.match_substring_regex(urls, r"[\p{Cc}\p{Zl}\p{Zp}]")
    cut = pc.replace_substring_regex(urls, r"(?s)[?#].*", "")
    bare = pc.replace_substring_regex(cut, r"(?s)^[A-Za-z][A-Za-z0-9+.-]*://[^/]*", "")
    bare = pc.if_else(pc.and_(pc.equal(bare, ""), pc.not_equal(cut, "")), "/", bare)
    path = pc.replace_substring_regex(bare, r"(?s);[^/]*", "")
    too_long = pc.greater(pc.utf8_length(path), LONGEST_PATH)
    return _flat(pc.if_else(pc.or_(refused, too_long), pa.scalar(None, pa.string()), path))


def page_categories(paths: pa.Array, prefixes: Mapping[str, str]) -> pa.Array:
    """The category of each path: that of the longest prefix in `prefixes` (prefix -> category), else 'other' (also for
    NULL).

    String array of length n in, string array of length n without NULL out. A prefix is plain text: '/clinic' also
    matches '/clinics'; end it with '/' to stop at a segment. Source: policy clause B1 (pages visited), coarsened.

    >>> table = {"/": "home", "/clinics/": "clinic"}
    >>> page_categories(pa.array(["/clinics/7", "/about", None]), table).to_pylist()
    ['clinic', 'home', 'other']
    """
    paths = _flat(paths)
    categories = pa.array([OTHER], pa.string()).take(pa.array(np.zeros(len(paths), np.int64)))
    for prefix in sorted(prefixes, key=len):  # longer prefixes later, so that they overrule
        matches = pc.fill_null(pc.starts_with(paths, prefix), False)
        categories = pc.if_else(matches, prefixes[prefix], categories)
    return categories


def language_regions(tags: pa.Array) -> pa.Array:
    """The region of each language tag, as assigned ISO 3166-1 alpha-2 code, or 'unknown' (no region, UN M.49 number,
    NULL).

    String array of length n in, string array of length n without NULL out. Source: RFC 5646 (BCP 47) section 2.1,
    lenient about '_' and case; it is the region of the language that the browser asks for, not where the visitor is.

    >>> language_regions(pa.array(["sv-SE", "zh-Hant-TW", "en_GB", "sv", "es-419", None])).to_pylist()
    ['SE', 'TW', 'GB', 'unknown', 'unknown', 'unknown']
    """
    return pc.fill_null(_of_each(tags, _region, pa.string()), UNKNOWN)


def language_codes(tags: pa.Array, languages: Mapping[str, str]) -> pa.Array:
    """The language of each tag as `languages` has it (language subtag -> code), 'other', or 'unknown' (NULL, no tag).

    String array of length n in, string array of length n without NULL out: whatever a browser sends, what comes out is
    listed. Source: RFC 5646 (BCP 47) section 2.1, lenient about '_' and case.

    >>> language_codes(pa.array(["sv-SE", "NB_no", "tlh", "", None]), {"sv": "sv", "nb": "no"}).to_pylist()
    ['sv', 'no', 'other', 'unknown', 'unknown']
    """

    def code(tag: str) -> str:
        match = LANGUAGE.match(tag[:LONGEST_TAG])
        return languages.get(match[1].lower(), OTHER) if match else UNKNOWN

    return pc.fill_null(_of_each(tags, code, pa.string()), UNKNOWN)


def grid(values: pa.Array, degrees: float) -> pa.Array:
    """Each coordinate, latitude or longitude, as the centre of its cell of `degrees` width.

    Double array of length n in and out, in degrees. The grid is laid from zero outwards, and a value on an edge belongs
    to the cell towards zero: 90 and 180 stay in range, and values out of range stay out of range (they are coarsened,
    not clipped), so that the suite can find them. NULL, NaN and infinities become NULL; `coordinate_pairs` keeps that
    defect visible. Raises `GovernanceError` unless 90 is a whole number of cells. A cell is a fixed area, not a number
    of visitors: that it holds k of them is for the release to measure. Source: policy clause B2; GDPR article 5(1)(c).

    >>> grid(pa.array([59.3293, -0.01, 90.0, 123.4, float("nan")]), 0.1).to_pylist()
    [59.35, -0.05, 89.95, 123.35, None]
    """
    if not (0 < degrees <= 90 and abs(90 / degrees - round(90 / degrees)) < 1e-9):
        raise GovernanceError(f"grid: 90 degrees are not a whole number of cells of {degrees} degrees")
    exact = pc.cast(_flat(values), pa.float64()).to_numpy(zero_copy_only=False)  # NULL arrives as NaN
    size = np.minimum(np.abs(exact), FARTHEST)
    cell = np.maximum(np.ceil(np.round(size / degrees, 9)), 1) - 0.5
    centre = np.round(np.where(exact < 0, -1.0, 1.0) * cell * degrees, 9)
    return pa.array(centre, pa.float64(), mask=~np.isfinite(exact))


def coordinate_pairs(latitudes: pa.Array, longitudes: pa.Array) -> pa.Array:
    """What there is of each pair of coordinates: 'both', 'neither', 'half' (one is NULL) or 'not_finite' (NaN,
    infinity).

    Double arrays of length n in, string array of length n without NULL out: a fact about the raw pair, measured before
    `grid` turns what is not finite into NULL. Source: policy clause B2.

    >>> nan = float("nan")
    >>> coordinate_pairs(pa.array([59.3, None, None, nan]), pa.array([18.1, None, 18.1, 18.1])).to_pylist()
    ['both', 'neither', 'half', 'not_finite']
    """
    latitudes, longitudes = _flat(latitudes), _flat(longitudes)
    known = pc.add(pc.cast(pc.is_valid(latitudes), pa.int8()), pc.cast(pc.is_valid(longitudes), pa.int8()))
    words = pa.array(["neither", "half", "both"]).take(known)
    finite = [pc.fill_null(pc.is_finite(pc.cast(values, pa.float64())), True) for values in (latitudes, longitudes)]
    return pc.if_else(pc.and_(*finite), words, "not_finite")


def ip_versions(ips: pa.Array) -> pa.Array:
    """The version of each IP address: 4, 6, or NULL when it is missing or malformed.

    String array of length n in, int16 array of length n out. Source: Python's ipaddress (RFC 791, RFC 4291); clause B1.

    >>> ip_versions(pa.array(["192.0.2.1", "2001:db8::1", "192.0.2.256", None])).to_pylist()
    [4, 6, None, None]
    """
    return _of_each(ips, _ip_version, pa.int16())


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _of_each(values: pa.Array, fact: Callable[[str], str | int | None], kind: pa.DataType) -> pa.Array:
    """A fact about every value, worked out once per distinct value; NULL stays NULL."""
    encoded = pc.dictionary_encode(_flat(values))
    return pa.array([fact(value) for value in encoded.dictionary.to_pylist()], kind).take(encoded.indices)


def _of_each_user_agent(user_agents: pa.Array, fact: Callable[[str], str]) -> pa.Array:
    short = pc.utf8_slice_codeunits(_flat(user_agents), 0, LONGEST_USER_AGENT)
    return pc.fill_null(_of_each(short, fact, pa.string()), UNKNOWN)


def _family(parsed: ua_parser.UserAgent | ua_parser.OS | None) -> str:
    return UNKNOWN if parsed is None else parsed.family


def _device_class(agent: str) -> str:
    device = ua_parser.parse_device(agent)
    if BOT.search(agent) or (device is not None and device.family == "Spider"):
        return "bot"
    system = _family(ua_parser.parse_os(agent))
    # Android says 'Mobile' on telephones and leaves it out on tablets.
    if TABLET.search(agent) or (system == "Android" and not MOBILE.search(agent)):
        return "tablet"
    if MOBILE.search(agent) or system == "iOS":
        return "mobile"
    return "desktop" if system in DESKTOP_SYSTEMS else UNKNOWN


def _region(tag: str) -> str:
    match = REGION.fullmatch(tag) if len(tag) <= LONGEST_TAG else None
    region = match[1].upper() if match else ""
    return region if region in REGIONS else UNKNOWN


def _ip_version(ip: str) -> int | None:
    try:
        return ipaddress.ip_address(ip).version
    except ValueError:
        return None
