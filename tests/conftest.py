"""Fixtures shared by the tests of all rooms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.runtime.tiny_bundle import TinyBundle

TESTS = Path(__file__).parent
REALTIME_ROOMS = {"cloud", "device", "e2e", "edge", "serving", "testbed", "transport"}
"""Rooms whose tests start programs, sockets and clocks: they mostly wait, and want a processor when they do not."""


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """A small real bundle (`.path`), its unsplit model (`.whole`) and a few inputs (`.items`); made once, read-only."""
    from tests.runtime.tiny_bundle import build

    return build(tmp_path_factory.mktemp("tiny"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their room, so that `make test` runs those that compute side by side and the others alone."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in REALTIME_ROOMS:
            item.add_marker(pytest.mark.realtime)
