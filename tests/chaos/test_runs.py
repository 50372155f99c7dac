"""Thirty runs of chaos; `make chaos` does a thousand."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_frame_ends_once_and_what_was_acknowledged_is_answered_whatever_happens() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--runs", "30", "--lanes", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
