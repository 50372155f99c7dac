"""Ctrl-C before a command has begun: its imports take longer than a person who has mistyped."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

START = """
import os, signal, sys
from isthmus.__main__ import main

class InterruptsAtImport:
    left = int(sys.argv.pop(1))

    def find_spec(self, name, path=None, target=None):
        InterruptsAtImport.left -= 1
        if InterruptsAtImport.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, InterruptsAtImport())
try:
    main()
finally:
    print("handled by", repr(signal.getsignal(signal.SIGINT)))
"""


def interrupted(at_import: int, before: str = "") -> subprocess.CompletedProcess[str]:
    """`isthmus --help`, which gets a SIGINT when it imports its nth module."""
    command = [sys.executable, "-c", before + START, str(at_import), "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("at_import", [1, 2, 10, 40])
def test_it_ends_quietly_with_130(at_import: int) -> None:
    done = interrupted(at_import)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_where_it_is_ignored_it_stays_ignored() -> None:
    done = interrupted(2, "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"handled by {signal.SIG_IGN!r}\n")


def test_a_command_is_interrupted_as_any_python_program() -> None:
    done = interrupted(0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"handled by {signal.default_int_handler!r}\n")
