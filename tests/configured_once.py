"""Great Expectations builds the configuration of an expectation sixty times while it evaluates it: a fifth of what it
costs to validate a day of ten bookings. Tests validate a thousand such days; in their process it builds each once.

What a live Airflow runs in tests is left as it is.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import pytest

from governance import validation

_results = validation._results


def pytest_configure(config: pytest.Config) -> None:
    """When something is validated first, and not before: the library takes seconds to import."""
    validation._results = _with_configurations_built_once


def _with_configurations_built_once(*arguments: Any) -> Any:
    _install()
    return _results(*arguments)


@cache
def _install() -> None:
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation

    build, validate, here = Expectation.configuration.fget, Batch.validate, threading.local()

    def configuration(self: Expectation) -> Any:
        known = getattr(here, "known", None)
        if known is None:
            return build(self)
        if id(self) not in known:
            known[id(self)] = self, build(self)  # with itself, so that nobody else gets its number meanwhile
        return known[id(self)][1]

    def validated(self: Batch, *arguments: Any, **named: Any) -> Any:
        here.known = {}  # nothing changes an expectation while it is evaluated
        try:
            return validate(self, *arguments, **named)
        finally:
            here.known = None

    Expectation.configuration, Batch.validate = property(configuration), validated
