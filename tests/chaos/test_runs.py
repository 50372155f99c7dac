"""Thirty runs of chaos; `python -m tests.chaos` does a thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.runs import report
from tests.runtime.tiny_bundle import TinyBundle


@pytest.mark.long
@pytest.mark.parametrize("seed", range(30))
def test_every_frame_ends_once_whatever_happens(seed: int, tmp_path: Path, tiny_bundle: TinyBundle) -> None:
    assert report(seed, tmp_path, tiny_bundle) is None
