"""The device's estimator, policies and queue rules in simulated time, over the same links. No processes, no clock.

Times of the parts come from the bundle's own profile, so that a run depends on nothing but the scenario: the same seed
gives the same bytes. What is left out against the real programs: `testbed.simulation.run` and docs/testbed.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from random import Random

from adaptation.values import Choice, Option, Plan, Route
from device.figures import Figures
from device.history import Ending, FrameRecord
from device.plan import Planner
from runtime.bundle import Bundle
from runtime.manifest import Manifest
from testbed.backends.backend import DeviceOutcome, Line, Outcome, Told, packet_refusals
from testbed.backends.calibration import Calibration
from testbed.errors import ScenarioError
from testbed.hindsight import STREAM_WINDOW_BYTES
from testbed.link.conditions import Reset
from testbed.link.settings import DirectionSettings
from testbed.link.weather import Weather
from testbed.scenarios.faults import Occurrence
from testbed.scenarios.faults.partition import BACKHAUL, Partition
from testbed.scenarios.faults.steal import Steal
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import DeviceTable, Played, PlayedLink, Scenario
from testbed.simulation.conditions import Conditions, Frame
from testbed.simulation.items import Items
from testbed.simulation.run import Simulation
from testbed.simulation.supply import Supply, steps
from testbed.simulation.traces import read_supply

FOREVER_S = 1e6
"""The last rate of a link lasts for so long."""
UNLIMITED_BPS = 1e10
WRONG = -1
"""The answer of a simulated frame that got it wrong."""


class SimulatedBackend:
    """`simulated`: one device on each link; of the faults partitions and time stolen from devices; no connections."""

    name = "simulated"

    def __init__(self, timings: Calibration | None = None) -> None:
        """`timings`: of a machine; None takes the bundle's own profile, and programs that take no time."""
        self._timings = timings

    def why_not(self) -> str:
        return ""

    def refusals(self, scenario: Scenario) -> list[str]:
        found = packet_refusals(scenario)
        if scenario.broker is not None:
            found.append("it cannot play a broker")
        for name, link in scenario.link.items():
            users = [table for table in scenario.device.values() if table.link == name]
            if sum(table.count for table in users) > 1:
                found.append(f"it simulates one device on a link, and link.{name} has several")
            for condition, table in link.condition.items():
                if isinstance(table, Reset):
                    found.append(f"it cannot apply link.{name}.condition.{condition} ({table.kind})")
        for name, fault in scenario.fault.items():
            stolen = isinstance(fault, Steal) and fault.target in scenario.device
            cut = isinstance(fault, Partition) and fault.link != BACKHAUL
            if not (stolen or cut):
                found.append(f"it cannot apply fault.{name} ({fault.told})")
        return found

    def play(self, scenario: Scenario, material: Material, folder: Path, repetition: int, told: Told) -> Outcome:
        played = scenario.played(repetition)
        outcomes = []
        with Bundle.open(material.bundle) as bundle:
            timings = self._timings or own_timings(bundle.manifest)
            items = Items(bundle, [material.inputs / name for name in sorted(material.labels)])
            for name, table in scenario.device.items():
                told(f"simulating {name}")
                given = _conditions(scenario, name, played, bundle.manifest, timings)
                given = replace(given, seed=scenario.seed + repetition)
                if items.readable:
                    given = replace(given, confidence=items.confidence, sizes=items.message_bytes)
                run = Simulation(given, table.policy.build()).go()
                chance = Random(f"{scenario.seed + repetition}/answers/{name}")
                outcomes.append(DeviceOutcome(name, name, _lines(run.frames, given, material, chance), len(run.frames)))
        return Outcome(outcomes, {name: () for name in played.links if name != BACKHAUL}, played.occurrences)


def _conditions(scenario: Scenario, name: str, played: Played, manifest: Manifest, timings: Calibration) -> Conditions:
    """What a table's device is played under."""
    table = scenario.device[name]
    link, plan = played.links[table.link], plan_of(scenario, table, manifest, timings)
    return Conditions(
        plan=plan,
        supply=supply_of(link.uplink, scenario.seconds, timings.byte_s),
        seconds=scenario.seconds,
        deadline_s=table.deadline_s,
        interval_s=1 / table.rate_hz,
        one_way_s=(link.uplink.delay_s + link.downlink.delay_s + timings.programs_s) / 2,
        extra_s=_extra_s(scenario, plan, link.downlink),
        jitter_s=timings.jitter_s,
        held_back_bytes=STREAM_WINDOW_BYTES,
        slowdown=_stolen(scenario, name, played.occurrences),
        delayed=_delayed(link) if link.conditions else None,
    )


def own_timings(manifest: Manifest) -> Calibration:
    """What the bundle says of itself.

    Raises:
        ScenarioError: the bundle has no profile.
    """
    if not manifest.profiles:
        raise ScenarioError(
            f"bundle {manifest.model_id!r} does not say how long its parts take; time them here (isthmus testbed "
            "calibrate), or take the backend 'process'"
        )
    return Calibration(profile=manifest.profiles[0])


def plan_of(scenario: Scenario, table: DeviceTable, manifest: Manifest, timings: Calibration) -> Plan:
    """What the device may choose, and what it takes."""
    profile = timings.profile
    slowdown = table.slowdown or max((table.whole_model_s or 0.0) / sum(profile.segment_s), 1.0)
    slowdown *= timings.device_factor
    routes = {"edge": (Route.EDGE,), "cloud": (Route.CLOUD,)}
    reached = [route for tier in scenario.tiers for route in routes[tier]]
    if len(scenario.tiers) > 1:
        reached.append(Route.EDGE_TO_CLOUD)
    plan = Planner(manifest, Figures(profile, slowdown=slowdown, clock=lambda: 0.0), reached).plan()
    return Plan(tuple(_at_tier(option, scenario, timings.tier_factor) for option in plan))


def _at_tier(option: Option, scenario: Scenario, factor: float) -> Option:
    """The option at its tier's own speed."""
    tier = {Route.EDGE: scenario.edge, Route.CLOUD: scenario.cloud, Route.EDGE_TO_CLOUD: scenario.cloud}
    table = tier.get(option.choice.route)
    return option if table is None else replace(option, tier_s=option.tier_s * table.slowdown * factor)


def supply_of(direction: DirectionSettings, seconds: float, byte_s: float = 0.0) -> Supply:
    """A direction of a link as a supply that outlasts the run.

    Args:
        byte_s: what each byte takes in programs besides; not where the link is a trace, which is slower than they are.
    """
    if direction.kind == "trace" and direction.path is not None:
        whole = read_supply(direction.path)
        length_s = (direction.to_s or float(whole.times_s[-1])) - direction.from_s
        return whole.window(direction.from_s, length_s).window(0.0, seconds + 60.0)
    return steps([(seconds, _with(byte_s, rate_bps)) for seconds, rate_bps in _rates(direction)])


def _with(byte_s: float, rate_bps: float) -> float:
    """The rate at which bytes come through programs and link, one behind the other."""
    return rate_bps / (1 + byte_s * rate_bps / 8)


def _rates(direction: DirectionSettings) -> list[tuple[float, float]]:
    if direction.kind == "steps":
        return [*direction.steps[:-1], (FOREVER_S, direction.steps[-1][1])]
    return [(FOREVER_S, direction.rate_bps or UNLIMITED_BPS)]


def _extra_s(scenario: Scenario, plan: Plan, downlink: DirectionSettings) -> dict[Route, float]:
    """What a round trip takes beyond the delays: the answer on the downlink, and the way to the cloud and back."""
    size = max(option.result_bytes for option in plan)
    down_s = _answer_s(downlink, size) if downlink.kind != "trace" else 0.0
    far_s = 2 * scenario.cloud.extra_delay_s if scenario.cloud else 0.0
    return {Route.EDGE: down_s, Route.CLOUD: down_s + far_s, Route.EDGE_TO_CLOUD: down_s + far_s}


def _answer_s(downlink: DirectionSettings, size: float) -> float:
    """Mean time of an answer on the downlink while that is alive."""
    live = [(seconds, rate_bps) for seconds, rate_bps in _rates(downlink) if rate_bps > 0]
    whole_s = math.fsum(seconds for seconds, _ in live)
    return math.fsum(seconds * size * 8 / rate_bps for seconds, rate_bps in live) / whole_s if live else 0.0


def _stolen(scenario: Scenario, device: str, occurrences: Sequence[Occurrence]) -> Callable[[float], float]:
    """How many times slower the device is at a time, for the time that is stolen from it."""
    spans = []
    for one in occurrences:
        fault = scenario.fault[one.name]
        if isinstance(fault, Steal) and fault.target == device:
            spans.append((one.begins_s, math.inf if one.ends_s is None else one.ends_s, 1 / (1 - fault.share)))

    def factor(now_s: float) -> float:
        return max((slower for begin_s, end_s, slower in spans if begin_s <= now_s < end_s), default=1.0)

    return factor


def _delayed(link: PlayedLink) -> Callable[[Route, float, float], float]:
    """Jitter, stalls and partitions of a link, each way to each tier; in each way nothing overtakes."""
    ways: dict[tuple[str, str], Weather] = {}
    latest_s: dict[tuple[str, str], float] = {}
    for way in product(("up", "down"), ("edge", "cloud")):
        ways[way] = Weather([one for one in link.conditions if one.concerns(*way)])
        ways[way].start(0.0)

    def arrival(direction: str, forward: str, at_s: float) -> float:
        way = direction, forward
        latest_s[way] = max(latest_s.get(way, 0.0), ways[way].arrival(at_s))
        return latest_s[way]

    def delayed(route: Route, arrives_s: float, rest_s: float) -> float:
        forward = "cloud" if route is Route.CLOUD else "edge"
        return arrival("down", forward, arrival("up", forward, arrives_s) + rest_s)

    return delayed


def _whole(plan: Plan) -> int:
    """The cut of the choice that runs the whole model on the device."""
    return max((option.choice.cut for option in plan if not option.choice.remote), default=0)


_BY = {Route.DEVICE: "device", Route.EDGE: "edge", Route.CLOUD: "cloud", Route.EDGE_TO_CLOUD: "cloud"}


def _lines(frames: Sequence[Frame], given: Conditions, material: Material, chance: Random) -> list[Line]:
    """The frames as the device's history would have them; whether an answer is right is drawn from its accuracy."""
    names = sorted(material.labels)
    return [
        _line(number, frame, given, names[(number - 1) % len(names)], material, chance)
        for number, frame in enumerate(frames, start=1)
    ]


def _line(number: int, frame: Frame, given: Conditions, source: str, material: Material, chance: Random) -> Line:
    plan = given.plan
    answered = frame.done_s is not None
    latency_s = given.deadline_s if frame.done_s is None else frame.done_s - frame.captured_s
    sent = None if frame.choice is None or not frame.choice.remote else plan.find(frame.choice)
    sent_bytes = 0.0 if sent is None else sent.message_bytes
    if sent is not None and given.sizes is not None:
        sent_bytes = given.sizes(number - 1, sent)
    shown: Choice | None = frame.by or frame.choice
    right = chance.random() < frame.accuracy
    return asdict(
        FrameRecord(
            frame=number,
            captured_s=frame.captured_s,
            ended=Ending.ANSWERED if answered else Ending.DROPPED if frame.choice is None else Ending.EXPIRED,
            by=_BY[frame.by.route] if frame.by is not None else None,
            route=None if shown is None else shown.route.value,
            cut=None if shown is None else shown.cut,
            level=None if shown is None else shown.level,
            exit=answered and shown is not None and shown.cut < _whole(plan) and not shown.remote,
            message_bytes=round(sent_bytes),
            latency_s=latency_s,
            deadline_s=given.deadline_s,
            in_time=answered and latency_s <= given.deadline_s + 1e-9,
            answer=(material.labels[source] if right else WRONG) if answered else None,
            device_s=frame.device_s + frame.hedge_s,
            hedge_s=frame.hedge_s,
            source=source,
        )
    )
