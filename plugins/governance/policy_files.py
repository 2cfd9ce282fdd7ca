"""The files of a policy, read without surprises: each one mapping, in which no key stands twice, nor in two files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

from governance.errors import PolicyError

MOST_BYTES = 1_000_000
MOST_NESTED = 100
"""Mappings and lists within one another; libyaml would follow them until its stack is full."""


class _OnceEach(yaml.CSafeLoader):
    """YAML's own reader takes the last of two equal keys without a word; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(twice)} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def mapping(name: str, content: bytes) -> dict[str, Any]:
    """What a policy file holds. Raises PolicyError, which names the file, when that is not one sound mapping.

    >>> mapping("site.yaml", b"first_partition: {visits: 2026-03-10}")
    {'first_partition': {'visits': datetime.date(2026, 3, 10)}}
    """
    try:
        if _depth(content) > MOST_NESTED:
            raise PolicyError(f"{name} is not sound YAML: it is nested too deeply")
        loaded = yaml.load(content, _OnceEach)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date that is none, or bytes that are no text
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise PolicyError(f"{name} is not sound YAML{where}: {problem}") from None
    if not isinstance(loaded, dict):
        raise PolicyError(f"{name} must hold a mapping at its top")
    return loaded


def _depth(content: bytes) -> int:
    """How many mappings and lists are within one another at most; counting ends above what may be."""
    depth = deepest = 0
    for event in yaml.parse(content, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        deepest = max(deepest, depth)
        if deepest > MOST_NESTED:
            break
    return deepest


def parts(folder: Path, site: Path | None) -> dict[str, Any]:
    """What stands in a policy folder, and in the site's file where there is one.

    `digest` is the SHA-256 of the list of its files, as `sha256sum` writes it; `texts` has that list and every file by
    digest, as (name, text). Keys are those of `policy.Policy`. Raises PolicyError naming the file.
    """
    found: dict[str, Any] = {"datasets": {}, "site": {}, "digest": "", "texts": {}}
    texts: dict[str, tuple[str, str]] = {}
    listed = ""
    for path in sorted(folder.rglob("*.yaml")) + sorted(folder.rglob("*.csv")):
        content = _read(path)
        if path.suffix == ".yaml":
            _add(found, path.stem, mapping(path.name, content))
        listed += _keep(texts, f"policies/{path.relative_to(folder).as_posix()}", content)
    if site is not None and os.path.lexists(site):  # a link that leads nowhere is no site without a file
        content = _read(site)
        found["site"] = mapping(site.name, content)
        listed += _keep(texts, "site.yaml", content)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return {**found, "digest": digest, "texts": texts | {digest: ("policy", listed)}}


def _read(path: Path) -> bytes:
    """Raises PolicyError for what is no readable file of a policy's size."""
    try:
        if not path.is_file():
            raise PolicyError(f"{path} is not a file")
        if path.stat().st_size > MOST_BYTES:
            raise PolicyError(f"{path} is larger than {MOST_BYTES:,} bytes: that is no file of a policy")
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from None


def _keep(texts: dict[str, tuple[str, str]], name: str, content: bytes) -> str:
    """Keep a file's text under its digest; returns its line in the list of files."""
    digest = hashlib.sha256(content).hexdigest()
    texts[digest] = (name, _text(name, content))
    return f"{digest}  {name}\n"


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError(f"{name} is not UTF-8 text") from None


def _add(found: dict[str, Any], stem: str, content: dict[str, Any]) -> None:
    if "dataset" in content:
        if content["dataset"] != stem:
            raise PolicyError(f"{stem}.yaml declares dataset {content['dataset']!r}; file and dataset share one name")
        found["datasets"][stem] = content
        return
    twice = sorted(found.keys() & content.keys())
    if twice:
        raise PolicyError(f"{stem}.yaml sets {', '.join(twice)}, which another file of the policy sets too")
    found.update(content)
