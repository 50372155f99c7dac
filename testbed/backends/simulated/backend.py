"""The device's estimator, policies and queue rules in simulated time, over the same links. No processes, no clock.

Times of the parts come from the bundle's own profile, so that a run depends on nothing but the scenario: the same seed
gives the same bytes. What is left out against the real programs: `testbed.simulation.run` and docs/testbed.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from runtime.bundle import Bundle
from runtime.manifest import Manifest
from testbed.backends.backend import DeviceOutcome, Outcome, Told, packet_refusals
from testbed.backends.calibration import Calibration
from testbed.backends.simulated.absence import ENDING, Absence
from testbed.backends.simulated.terms import extra_s, own_timings, plan_of
from testbed.backends.simulated.way import Way
from testbed.hindsight import STREAM_WINDOW_BYTES
from testbed.link.conditions import Reset
from testbed.scenarios.faults import Fault
from testbed.scenarios.faults.partition import BACKHAUL, Partition
from testbed.scenarios.faults.pause import Pause
from testbed.scenarios.faults.steal import Steal
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Played, Scenario
from testbed.simulation.conditions import Conditions
from testbed.simulation.history import lines_of
from testbed.simulation.items import Items
from testbed.simulation.run import Simulation

LEAST = 0.5
"""Of their mean, frames take at least so much."""


class SimulatedBackend:
    """`simulated`: no connections that break, no files. A broker takes no time; who dies there is missed at once."""

    name = "simulated"

    def __init__(self, timings: Calibration | None = None) -> None:
        """`timings`: of a machine; None takes the bundle's own profile, and programs that take no time."""
        self._timings = timings

    def why_not(self) -> str:
        return ""

    def no_broker(self) -> str:
        return ""

    def refusals(self, scenario: Scenario) -> list[str]:
        found = packet_refusals(scenario)
        for name, link in scenario.link.items():
            for condition, table in link.condition.items():
                if isinstance(table, Reset):
                    found.append(f"it cannot apply link.{name}.condition.{condition} ({table.kind})")
        for name, fault in scenario.fault.items():
            if not _is_played(fault, scenario):
                found.append(f"it cannot apply fault.{name} ({fault.told})")
        return found

    def play(self, scenario: Scenario, material: Material, folder: Path, repetition: int, told: Told) -> Outcome:
        played = scenario.played(repetition)
        with Bundle.open(material.bundle) as bundle:
            timings = self._timings or own_timings(bundle.manifest)
            items = Items(bundle, [material.inputs / name for name in sorted(material.labels)])
            ways = {name: Way(scenario, played, name, timings.byte_s) for name in played.links if name != BACKHAUL}
            devices = list(_devices(scenario, repetition, played, ways, bundle.manifest, timings, items))
            for device in devices:
                device.simulation.begin()
            for name, way in ways.items():
                told(f"simulating {name}")
                way.cell.play()
            outcomes = [device.outcome(material, f"{scenario.seed + repetition}/answers") for device in devices]
        return Outcome(outcomes, dict.fromkeys(ways, ()), played.occurrences)


def _is_played(fault: Fault, scenario: Scenario) -> bool:
    """Devices that stand still capture nothing meanwhile, which simulated ones do."""
    if isinstance(fault, Pause):
        return fault.target not in scenario.device
    return isinstance(fault, (*ENDING, Partition, Steal))


@dataclass(frozen=True, slots=True)
class _Device:
    name: str
    table: str
    given: Conditions
    simulation: Simulation

    def outcome(self, material: Material, seed: str) -> DeviceOutcome:
        """What came of it; its link has been played."""
        frames = self.simulation.run_.frames
        lines = lines_of(frames, self.given, material.labels, Random(f"{seed}/{self.name}"))
        return DeviceOutcome(self.name, self.table, lines, len(frames))


def _devices(
    scenario: Scenario,
    repetition: int,
    played: Played,
    ways: Mapping[str, Way],
    manifest: Manifest,
    timings: Calibration,
    items: Items,
) -> Iterator[_Device]:
    """Every device on its link; those that come second to a link capture at a moment of their own."""
    on_link = dict.fromkeys(ways, 0)
    for name, table in scenario.device.items():
        way = ways[table.link]
        common = _conditions(scenario, name, played, way, manifest, timings)
        if items.readable:
            common = replace(common, confidence=items.confidence, sizes=items.message_bytes)
        for number in range(1, table.count + 1):
            label = name if table.count == 1 else f"{name}-{number}"
            chance = Random(f"{scenario.seed + repetition}/device/{label}")
            first_s = chance.random() * common.interval_s if on_link[table.link] else 0.0
            given = replace(
                common, first_s=first_s, answered=way.answered(), seed=chance.getrandbits(32),
                varied=_varied(timings.device_noise, chance),
            )  # fmt: skip
            on_link[table.link] += 1
            yield _Device(label, name, given, Simulation(given, table.policy.build(), cell=way.cell))


def _varied(noise: Sequence[float], chance: Random) -> Callable[[float], float]:
    """How much longer or shorter than their mean frames take: less, the longer that is (`Calibration.device_noise`)."""
    return lambda mean_s: max(1.0 + chance.choice(noise) / math.sqrt(mean_s), LEAST) if mean_s > 0.0 else 1.0


def _conditions(
    scenario: Scenario, name: str, played: Played, way: Way, manifest: Manifest, timings: Calibration
) -> Conditions:
    """What all devices of a table are played under."""
    table, link = scenario.device[name], way.link
    plan = plan_of(scenario, table, manifest, timings)
    return Conditions(
        plan=plan,
        supply=way.cell.line.supply,
        seconds=scenario.seconds,
        deadline_s=table.deadline_s,
        interval_s=1 / table.rate_hz,
        one_way_s=(link.uplink.delay_s + link.downlink.delay_s + timings.programs_s) / 2,
        extra_s=extra_s(scenario),
        jitter_s=timings.jitter_s,
        held_back_bytes=STREAM_WINDOW_BYTES,
        own_s=timings.own_s,
        slowdown=Absence.of({name}, scenario.fault, played.occurrences).factor,
        tiers=way.tiers,
    )
