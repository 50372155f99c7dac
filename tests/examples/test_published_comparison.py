"""The example of a published comparison, run as a reader would, over a short trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "published_comparison.py"
TRACE = Path(__file__).parents[1] / "testbed" / "packets.up"


@pytest.mark.slow
def test_it_compares_three_rules_over_a_trace(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--seconds", "5", "--page", str(tmp_path / "page.html"), str(TRACE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("Neurosurgeon's", "SPINN's", "ours"):
        assert f"{name} over {TRACE.name}" in done.stdout
    assert "Side by side" in (tmp_path / "page.html").read_text()
