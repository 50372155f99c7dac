"""The seam between scenarios and what plays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testbed import disk
from testbed.errors import ScenarioError
from testbed.scenarios.faults import Occurrence
from testbed.scenarios.faults.disk_full import DiskFull
from testbed.scenarios.faults.slow_disk import SlowDisk
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Scenario

Line = Mapping[str, Any]
Told = Callable[[str], None]
"""Takes a sentence about what happens now."""


@dataclass(frozen=True, slots=True)
class DeviceOutcome:
    """What one device left behind.

    Attributes:
        name: its table's name, numbered where the table has several.
        table: its table.
        lines: one for each frame that was captured in the scenario's time and ended, as `device.history` writes them,
            with `captured_s` counted since the links started.
        captured: frames captured in the scenario's time.
    """

    name: str
    table: str
    lines: Sequence[Line]
    captured: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one repetition left behind.

    Attributes:
        links: lines of each radio link's record: bytes carried in each 100 ms.
        occurrences: faults, at the times at which they really came.
    """

    devices: Sequence[DeviceOutcome]
    links: Mapping[str, Sequence[Line]]
    occurrences: Sequence[Occurrence]


class Backend(Protocol):
    """Plays scenarios."""

    @property
    def name(self) -> str:
        """As in `isthmus testbed run --backend`."""
        ...

    def why_not(self) -> str:
        """Why this machine cannot play anything with it, a sentence; empty if it can."""
        ...

    def no_broker(self) -> str:
        """Why no broker can run in it on this machine, a sentence; empty if one can."""
        ...

    def refusals(self, scenario: Scenario) -> list[str]:
        """What in the scenario it cannot play on any machine, a sentence each; empty if it can play all."""
        ...

    def play(self, scenario: Scenario, material: Material, folder: Path, repetition: int, told: Told) -> Outcome:
        """Play one repetition, leaving its files in the folder.

        Raises:
            TestbedError: it cannot be played.
        """
        ...


def packet_refusals(scenario: Scenario) -> list[str]:
    """Of a backend that carries streams of bytes: what in the scenario is about packets."""
    found = [
        f"it carries streams, and link.{name}.packet.{key} is about packets (netns has them)"
        for name, link in scenario.link.items()
        for key in link.packet
    ]
    managed = [name for name, link in scenario.link.items() if link.queue != "drop-tail"]
    return found + [f"it carries streams, and link.{name}.queue drops packets (netns has them)" for name in managed]


def why_unplayable(backend: Backend, scenario: Scenario) -> list[str]:
    """Why a backend cannot play a scenario on this machine, a sentence each; empty if it can."""
    other = backend.name not in scenario.backends
    reasons = [f"its backends are {', '.join(scenario.backends)}"] if other else []
    if reason := backend.why_not():
        reasons.append(reason)
    if scenario.broker is not None and (reason := backend.no_broker()):
        reasons.append(reason)
    if any(isinstance(fault, DiskFull | SlowDisk) for fault in scenario.fault.values()) and (reason := disk.why_not()):
        reasons.append(reason)
    return reasons + backend.refusals(scenario)


def require_playable(backend: Backend, scenario: Scenario) -> None:
    """Refuse what a backend cannot play here or would have to leave out.

    Raises:
        ScenarioError: with the reasons.
    """
    if reasons := why_unplayable(backend, scenario):
        raise ScenarioError(
            f"the backend {backend.name!r} cannot play this scenario: {'; '.join(reasons)}; take another backend"
        )
