"""Tiers as real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transport.settings import Dial


@dataclass(frozen=True)
class Program:
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def dial(self) -> Dial:
        return Dial(target=f"127.0.0.1:{self.ready['port']}")


@contextmanager
def a_program(room: str, log: Path, *arguments: str) -> Iterator[Program]:
    """`python -m ROOM ARGUMENTS`, ready; its standard error goes to `log`."""
    command = [sys.executable, "-m", room, *arguments]
    with log.open("a") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Program(process, json.loads(line))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def failing(room: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, of a program that is expected to end by itself."""
    command = [sys.executable, "-m", room, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
