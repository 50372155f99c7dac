"""Virtual environments of other libraries, for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import environments


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has them; skips the test where they cannot be installed."""
    try:
        return environments.python_with(name, *requirements)
    except environments.CannotInstall as exc:
        pytest.skip(str(exc))
