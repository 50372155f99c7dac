"""What is examined, and how a check says what it found."""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from device.settings import Settings
from protocol.errors import IsthmusError
from transport.settings import Dial


class Fault(IsthmusError):
    """A check failed: what is wrong and why, and what to do."""

    exit_code = 2

    def __init__(self, told: str, fix: str) -> None:
        super().__init__(f"{told}; {fix}")
        self.told = told
        self.fix = fix


def _installed() -> dict[str, str]:
    return {found.metadata["Name"].lower(): found.version for found in importlib.metadata.distributions()}


def _available_bytes() -> int | None:
    """Memory that a program could have now; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


@dataclass(frozen=True)
class Environment:
    """What the checks know of the machine; replaced in tests."""

    wall: Callable[[], float] = time.time
    available_bytes: Callable[[], int | None] = _available_bytes
    installed: Callable[[], Mapping[str, str]] = _installed
    """Versions of distributions, by name."""
    greeting_s: float = 4.0
    """How long a tier may take for its welcome."""
    python: tuple[int, int] = field(default_factory=lambda: (sys.version_info[0], sys.version_info[1]))


@dataclass(frozen=True)
class Case:
    """An agent's settings on this machine."""

    settings: Settings
    configuration: Path | None
    environment: Environment

    @property
    def tiers(self) -> dict[str, Dial]:
        """The tiers that are set, by table."""
        settings = self.settings
        return {name: dial for name, dial in (("edge", settings.edge), ("cloud", settings.cloud)) if dial is not None}
