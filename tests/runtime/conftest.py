"""Fixtures of this room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.bundle import Bundle
from runtime.engines import Engine, engine_named
from tests.runtime.tiny_bundle import TinyBundle


@pytest.fixture
def bundle(tiny_bundle: TinyBundle) -> Iterator[Bundle]:
    with Bundle.open(tiny_bundle.path) as opened:
        yield opened


@pytest.fixture
def folder(tiny_bundle: TinyBundle, tmp_path: Path) -> Path:
    """A copy of the bundle's folder, to be damaged."""
    return shutil.copytree(tiny_bundle.path, tmp_path / "copy.isthmus")


@pytest.fixture(scope="session")
def engine() -> Engine:
    return engine_named("onnxruntime")
