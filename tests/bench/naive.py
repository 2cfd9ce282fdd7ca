"""The pipeline of visits as a first draft would have it: pandas, row by row; the peer of our hops in `make bench`.

It does what ours does to a day of page views, without roles, keys per holder, run log or streaming: a keyed digest in
place of ciphertexts and tokens, measures by small functions, the suite on a frame, whole tables through `to_sql`.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy

from governance.embedded import site as sites

READ = (
    "SELECT view_id, viewed_at, recorded_at, duration_ms, ip, user_agent, app_version, language, url, session_id, "
    "device_id, device_settings, latitude, longitude FROM wellbe.page_views "
    "WHERE (recorded_at AT TIME ZONE 'Europe/Stockholm')::date = '{day}'"
)
KEY = b"k" * 32
CARD = re.compile(r"(?:\d[ -]?){13,19}")
CATEGORIES = ("search", "clinics", "procedures", "offers", "booking", "account", "help", "blog")
BROWSERS = ("Firefox", "Edg", "Chrome", "Safari")
SYSTEMS = ("Windows", "Android", "iPhone", "Mac OS", "Linux")
QUASI = ["country_code", "device_class", "page_category"]


def pull(folder: Path, day: date) -> int:
    """Into naive_landing."""
    site = sites.load(folder)
    frame = pd.read_sql(READ.format(day=day), _engine(site.dsn("puller")))
    for column in frame.select_dtypes(["object", "string"]):
        frame[column] = _or_none(frame[column])
    path = _or_none(frame["url"].map(lambda url: url.split("?")[0] if url else None))
    agent = frame["user_agent"].fillna("")
    landed = pd.DataFrame(
        {
            "row_id": range(len(frame)),
            "row_key": frame["view_id"].astype(str),
            "root_key": frame["view_id"].astype(str),
            "viewed_at": frame["viewed_at"],
            "recorded_at": frame["recorded_at"],
            "recording_lag_seconds": (frame["recorded_at"] - frame["viewed_at"]).dt.total_seconds(),
            "viewed_year": frame["viewed_at"].dt.year,
            "duration_ms": frame["duration_ms"],
            "ip_version": frame["ip"].map(_ip_version),
            "browser": agent.map(
                lambda text: next((b for b in ("Firefox", "Edg", "Chrome", "Safari") if b in text), None)
            ),
            "operating_system": agent.map(lambda text: next((o for o in SYSTEMS if o in text), None)),
            "device_class": agent.map(_device_class),
            "app_version": frame["app_version"],
            "language": frame["language"],
            "country_code": frame["language"].map(lambda tag: tag[-2:] if tag and "-" in tag else None),
            "path_characters_count": path.map(lambda text: len(text) if text and text.startswith("/") else None),
            "path_card_numbers_count": path.map(_card_numbers),
            "page_category": path.map(_page_category),
            "latitude_grid_degrees": frame["latitude"].map(lambda x: round(x * 2) / 2 if pd.notna(x) else None),
            "longitude_grid_degrees": frame["longitude"].map(lambda x: round(x * 2) / 2 if pd.notna(x) else None),
        }
    )
    landed["coordinates_state_code"] = [
        "both" if pd.notna(a) and pd.notna(b) else "neither" if pd.isna(a) and pd.isna(b) else "half"
        for a, b in zip(frame["latitude"], frame["longitude"], strict=True)
    ]
    for column in ("ip", "user_agent", "device_settings", "session_id", "device_id"):
        landed[column] = frame[column].map(_digest)
    landed["path"] = path.map(_digest)
    who = frame["device_id"].fillna(frame["session_id"]).fillna(frame["ip"])
    landed["visitor_token"] = who.map(_digest)
    _write(folder, landed, "naive_landing")
    return len(landed)


def validate(folder: Path, _: date) -> int:
    """From naive_landing into naive_vault and naive_quarantine, by the same suite."""
    import great_expectations as gx

    from governance.validation import load_suite

    frame = pd.read_sql("SELECT * FROM public.naive_landing", _engine(sites.load(folder).dsn("governance_owner")))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    suite = context.suites.add(gx.ExpectationSuite(name="v", expectations=load_suite("visits")["expectations"]))
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    answer = batch.get_batch({"dataframe": frame}).validate(
        suite,
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row_id"]},
        expectation_parameters={"page_views_rows": len(frame)},
    )
    failing = {row["row_id"] for result in answer.results for row in result.result.get("unexpected_index_list") or ()}
    is_odd = frame["row_id"].isin(failing)
    _write(folder, frame[~is_odd], "naive_vault")
    _write(folder, frame.loc[is_odd, ["row_id", "row_key"]], "naive_quarantine")
    return len(frame)


def publish(folder: Path, day: date) -> int:
    """From naive_vault into naive_release and naive_ledger."""
    frame = pd.read_sql("SELECT * FROM public.naive_vault", _engine(sites.load(folder).dsn("governance_owner")))
    frame[QUASI] = frame[QUASI].fillna("unknown")
    views = frame.sort_values("row_key")
    bounded = views[views.groupby("visitor_token").cumcount() < 20]
    grouped = bounded.groupby(QUASI)
    counts = grouped.agg(views=("row_key", "size"), visitors=("visitor_token", "nunique")).reset_index()
    safe = grouped["visitor_token"].transform("nunique") >= 10
    decisions = pd.DataFrame({"row_key": frame["row_key"], "day": day, "decision": "suppressed"}, index=frame.index)
    decisions.loc[bounded.index[safe], "decision"] = "published"
    _write(folder, counts[counts["visitors"] >= 10], "naive_release")
    _write(folder, decisions, "naive_ledger")
    return len(frame)


def _engine(dsn: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine("postgresql+psycopg2://" + dsn.split("://", 1)[1])


def _write(folder: Path, frame: pd.DataFrame, table: str) -> None:
    engine = _engine(sites.load(folder).dsn("governance_owner"))
    frame.to_sql(table, engine, schema="public", index=False, if_exists="replace")


def _or_none(texts: pd.Series) -> pd.Series:
    return texts.astype("object").where(texts.notna(), None)


def _digest(value: Any) -> str | None:
    return None if pd.isna(value) else hmac.new(KEY, str(value).encode(), "sha256").hexdigest()


def _ip_version(text: str | None) -> int | None:
    try:
        return ipaddress.ip_address(text or "").version
    except ValueError:
        return None


def _device_class(agent: str) -> str:
    if "bot" in agent.lower():
        return "bot"
    if "iPad" in agent or "Tablet" in agent:
        return "tablet"
    return "mobile" if "Mobile" in agent else "desktop" if agent else "unknown"


def _page_category(path: str | None) -> str:
    return next((name for name in CATEGORIES if (path or "").startswith(f"/{name}")), "other")


def _card_numbers(path: str | None) -> int:
    return sum(_passes_luhn(re.sub(r"\D", "", found)) for found in CARD.findall(path or ""))


def _passes_luhn(digits: str) -> bool:
    doubled = [int(d) * 2 if place % 2 else int(d) for place, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0
