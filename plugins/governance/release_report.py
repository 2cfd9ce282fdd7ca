"""How releases have gone over time, as one page that needs nothing else: k, l, loss, delay, held rows. Pure.

Every figure stands in a table below its plot, so that nobody needs to see the plot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from governance.published_tables import RISK

Figures = Mapping[str, float | None]
"""What is known of one release, by name."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 240, 60, 130, 16, 36
LINES = (("#1f5fa8", ""), ("#b3541e", "6 3"), ("#2f7d32", "2 3"), ("#6a3d9a", "8 3 2 3"))
"""Colour and dashes of each line: they are told apart without colours too."""
HELD = {"carried_out": "held", "carried_in": "carried in"}
"""Terms of the run log's equation that readers know by another name."""


@dataclass(frozen=True)
class Panel:
    """One plot: which figures, by the words in their names."""

    title: str
    about: str
    words: tuple[str, ...]


PANELS = (
    Panel("Groups: k and l", "The smallest number of people (k) and of sensitive values (l) in any group.", ("k", "l")),
    Panel("Loss: NCP", "How much of their precision the published rows have lost: 0 nothing, 1 everything.", ("ncp",)),
    Panel("Delay in days", "How long published rows had waited for their group.", ("delay",)),
    Panel(
        "Rows", "Rows published, suppressed, and held for a later release.", ("rows", "suppressed", "held", "carried"),
    ),
)  # fmt: skip


def figures(
    releases: Iterable[Mapping[str, Any]], entries: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, Figures]]:
    """dataset -> partition -> what is known of its release: from `analytics.releases`, and the run log's entries.

    Of counts with noise, of which `analytics.releases` says no rows, the log's measures are exact: they stay there.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for release in releases:
        of_release = found.setdefault(release["dataset"], {}).setdefault(release["partition_key"], {})
        of_release.update(
            {name: value for name, value in release.items() if _is_number(value) and name != "release_id"}
        )
    for entry in entries:
        known = found.get(entry["dataset"], {}).get(entry["partition_key"])
        if known is not None:
            measures = entry["measures"] if "rows" in known else {}
            known.update({name: measures[name] for name in RISK if _is_number(measures.get(name))})
            terms = entry["conservation"]
            known.update({called: terms[term] for term, called in HELD.items() if term in terms})
    return {dataset: dict(sorted(by_day.items())) for dataset, by_day in sorted(found.items())}


def page(found: Mapping[str, Mapping[str, Figures]]) -> str:
    """The page, as HTML with its plots inside."""
    parts = [part for dataset, by_day in found.items() for part in _dataset(dataset, by_day)]
    body = "\n".join(parts) or "<p>Nothing has been released yet.</p>"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Releases over time</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Releases over time</h1>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1a1a1a;background:#fff}main{max-width:50rem;margin:auto;"
    "padding:1rem}svg{max-width:100%;height:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.1rem .6rem;text-align:right;border-bottom:1px solid #ccc}th:first-child{text-align:left}"
    "summary{cursor:pointer}"
)


def _dataset(dataset: str, by_day: Mapping[str, Figures]) -> Iterator[str]:
    days = list(by_day)
    yield f"<section>\n<h2>{escape(dataset)}</h2>\n<p>{len(days)} releases, {days[0]} to {days[-1]}.</p>"
    for number, panel in enumerate(PANELS):
        names = [name for name in _names(by_day) if _belongs(name, panel)]
        yield f"<h3>{escape(panel.title)}</h3>\n<p>{escape(panel.about)}</p>"
        if not names:
            yield "<p>Not measured for these releases.</p>"
            continue
        series = {name: [of_day.get(name) for of_day in by_day.values()] for name in names}
        yield _plot(f"{dataset}-{number}", panel, days, series)
        yield _table(days, series)
    yield "</section>"


def _names(by_day: Mapping[str, Figures]) -> list[str]:
    return list(
        dict.fromkeys(name for of_day in by_day.values() for name, value in of_day.items() if value is not None)
    )


def _belongs(name: str, panel: Panel) -> bool:
    return bool({*name.lower().replace("_", " ").split()} & {*panel.words})


def _plot(key: str, panel: Panel, days: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    top = max((value for values in series.values() for value in values if value is not None), default=0) or 1
    told = "; ".join(
        f"{name}: first {_shown(known[0])}, last {_shown(known[-1])}, lowest {_shown(min(known))}, "
        f"highest {_shown(max(known))}"
        for name, values in series.items()
        if (known := [value for value in values if value is not None])
    )
    inside = [
        f'<title id="{key}-t">{escape(panel.title)}</title>',
        f'<desc id="{key}-d">{escape(told)}</desc>',
        *_axes(days, top),
    ]
    spots = {
        name: [_spot(at, len(days), each, top) for at, each in enumerate(values)] for name, values in series.items()
    }
    ends = _apart({name: next(spot[1] for spot in reversed(of) if spot) for name, of in spots.items()})
    for number, (name, of) in enumerate(spots.items()):
        inside += _line(number, name, of, ends[name])
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-t {key}-d" '
        f'font-size="12" fill="currentColor">\n{chr(10).join(inside)}\n</svg>'
    )


def _axes(days: Sequence[str], top: float) -> Iterator[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for share in (0.0, 0.5, 1.0):
        y = _height(share * top, top)
        yield f'<line x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="currentColor" stroke-opacity=".25"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_shown(share * top)}</text>'
    yield f'<text x="{LEFT}" y="{floor + 20}">{days[0]}</text>'
    if len(days) > 1:
        yield f'<text x="{right}" y="{floor + 20}" text-anchor="end">{days[-1]}</text>'


def _apart(ends: Mapping[str, float]) -> dict[str, float]:
    """Heights for the names of lines, so that none stands on another.

    >>> _apart({"a": 100.0, "b": 100.0, "c": 50.0})
    {'c': 50.0, 'a': 100.0, 'b': 114.0}
    """
    placed: dict[str, float] = {}
    lowest = float("-inf")
    for name, y in sorted(ends.items(), key=lambda end: end[1]):
        placed[name] = lowest = max(y, lowest + LINE_HEIGHT)
    return placed


def _line(number: int, name: str, spots: Sequence[tuple[float, float] | None], end: float) -> Iterator[str]:
    """A line that stops where a figure is missing, with its name beside its end."""
    colour, dashes = LINES[number % len(LINES)]
    drawn = "".join(
        f"{'M' if spot and (at == 0 or spots[at - 1] is None) else 'L'}{spot[0]} {spot[1]}"
        for at, spot in enumerate(spots)
        if spot
    )
    yield f'<path d="{drawn}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    known = [spot for spot in spots if spot]
    for x, y in known if len(known) <= MOST_DOTS else known[-1:]:
        yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
    yield f'<text x="{WIDTH - RIGHT + 10}" y="{end + 4}" fill="{colour}">{escape(_words(name))}</text>'


def _words(name: str) -> str:
    return name.replace("_", " ")


LINE_HEIGHT = 14
MOST_DOTS = 40


def _spot(at: int, of: int, value: float | None, top: float) -> tuple[float, float] | None:
    if value is None:
        return None
    width = WIDTH - LEFT - RIGHT
    return round(LEFT + width * (at / (of - 1) if of > 1 else 0.5), 1), _height(value, top)


def _height(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top, 1)


def _table(days: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("day", *map(_words, series)))
    rows = "".join(
        f'<tr><th scope="row">{day}</th>{"".join(f"<td>{_shown(values[at])}</td>" for values in series.values())}</tr>'
        for at, day in enumerate(days)
    )
    return (
        f"<details><summary>Figures</summary>\n<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</details>"
    )


def _shown(value: float | None) -> str:
    """A figure for people.

    >>> _shown(1200.0), _shown(0.123456), _shown(None)
    ('1,200', '0.123', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
