"""Paths, queries and user agents of page views, as pools to take from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from governance.sample import catalogue
from governance.sample.draws import Floats, Ints, pick
from governance.sample.files import spaced, words
from governance.sample.text import plain

CLASSES = ("app", "mobile", "tablet", "desktop", "bot")
APP, MOBILE, TABLET, DESKTOP, BOT = range(5)


@dataclass(frozen=True)
class Pages:
    """The pages of the site and their shares."""

    paths: pa.Array
    shares: Floats
    first: Floats  # shares for the first page of a session
    is_search: pa.Array


@dataclass(frozen=True)
class Agents:
    """User agents: all of them, and for each class of device which with what share."""

    texts: pa.Array
    is_ios: pa.Array
    index: list[Ints]
    shares: list[Floats]
    app_version: pa.Array  # NULL unless the app's


def _slugs() -> list[str]:
    rows = catalogue.providers(0).rows.to_pylist()
    return ["-".join(plain(word) for word in row["name"].split()[:-1]) + f"-{row['provider_id']}" for row in rows[:110]]


@lru_cache(maxsize=1)
def pages() -> Pages:
    """Return the pages: each pattern of `data/web.yaml` filled with clinics, procedures, posts or offer numbers."""
    web = words("web")
    procedures = [code.replace(".", "/").replace("_", "-") for code in catalogue.procedures().codes]
    fills = {"clinic": _slugs(), "procedure": procedures, "post": spaced(web["posts"])}
    fills["id"] = [str(20_000 + 37 * n) for n in range(400)]
    paths, shares = [], []
    for page in web["pages"]:
        blank = next((name for name in fills if "{" + name + "}" in page["path"]), None)
        filled = [page["path"]] if blank is None else [page["path"].format(**{blank: fill}) for fill in fills[blank]]
        weight = 1.0 / (3.0 + np.arange(len(filled)))
        paths += filled
        shares += (page["share"] * weight / weight.sum()).tolist()
    entry = [
        share * (0.1 if path.startswith(("/booking", "/account")) else 1.0)
        for path, share in zip(paths, shares, strict=True)
    ]
    return Pages(pa.array(paths), np.array(shares), np.array(entry), pa.array([path == "/search" for path in paths]))


@lru_cache(maxsize=1)
def agents() -> Agents:
    """Return the user agents, newer versions with larger shares."""
    web = words("web")
    app_versions = spaced(web["app_versions"])
    texts: list[str] = []
    ios: list[bool] = []
    app: list[str | None] = []
    index, shares = [], []
    for name in CLASSES:
        start, weights = len(texts), []
        for kind in web["agents"][name]:
            versions = spaced(kind["versions"])
            for n, version in enumerate(versions):
                for m, app_version in enumerate(app_versions if name == "app" else [None]):
                    texts.append(kind["agent"].format(v=version, a=app_version))
                    ios.append("iPhone" in kind["agent"] or "iPad" in kind["agent"])
                    app.append(app_version)
                    weights.append(kind["share"] / len(versions) * 0.55**n * 0.5**m)
        index.append(np.arange(start, len(texts), dtype=np.int64))
        shares.append(np.array(weights))
    return Agents(pa.array(texts), pa.array(ios), index, shares, pa.array(app, type=pa.string()))


def agent_of(device: Ints, uniform: Floats) -> Ints:
    """Return a user agent for each class of device, as an index into `agents().texts`."""
    found = np.empty(len(device), dtype=np.int64)
    for place in range(len(CLASSES)):
        here = device == place
        found[here] = agents().index[place][pick(uniform[here], agents().shares[place])]
    return found


@lru_cache(maxsize=1)
def queries() -> tuple[pa.Array, int]:
    """Return query strings, searches first, and how many of them are searches."""
    web = words("web")
    return pa.array([*web["searches"], *web["campaigns"]]), len(web["searches"])


@lru_cache(maxsize=1)
def settings() -> tuple[pa.Array, int]:
    """Return device settings as JSON, those of iOS first, and how many those are."""
    made: dict[str, list[str]] = {}
    for system in ("ios", "android"):
        made[system] = [
            f'{{"model": "{model}", "dark_mode": {dark}, "text_size": "{size}", "notifications": {notify}}}'
            for model in spaced(words("web")["models"][system])
            for dark in ("true", "false")
            for size in ("small", "default", "large")
            for notify in ("true", "false")
        ]
    return pa.array([*made["ios"], *made["android"]]), len(made["ios"])
