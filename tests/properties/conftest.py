"""Settings of every property test."""

from __future__ import annotations

from hypothesis import settings

# No deadline: the first example pays for imports and tables, and a busy machine is no counterexample.
settings.register_profile("laws", deadline=None)
settings.load_profile("laws")
