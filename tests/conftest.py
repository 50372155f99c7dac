"""Fixtures shared by the tests of all rooms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.ports import reserved_port

if TYPE_CHECKING:
    from tests.runtime.tiny_bundle import TinyBundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """A small real bundle (`.path`), its unsplit model (`.whole`) and a few inputs (`.items`); made once, read-only."""
    from tests.runtime.tiny_bundle import build

    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(name="reserved_port")
def _reserved_port() -> Iterator[int]:
    """A port that a program may listen on later, or again; nobody else is given it."""
    with reserved_port() as port:
        yield port
