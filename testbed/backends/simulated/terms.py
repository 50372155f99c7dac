"""A scenario's tables in the terms of simulated time: plans, supplies, delays."""

from __future__ import annotations

from dataclasses import replace

from adaptation.plan import Option, Plan, Route
from device.figures import Figures
from device.plan import Planner
from runtime.manifest import Manifest, Profile
from testbed.backends.calibration import Calibration
from testbed.errors import ScenarioError
from testbed.link.settings import DirectionSettings
from testbed.scenarios.scenario import DeviceTable, Scenario
from testbed.simulation.supply import Supply, steps
from testbed.simulation.traces import read_supply

FOREVER_S = 1e6
"""The last rate of a link lasts for so long."""
UNLIMITED_BPS = 1e10


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
    profile = _with_encoders(timings.profile, timings.encode_factor)
    slowdown = _slowdown(table, timings) * timings.device_factor
    routes = {"edge": (Route.EDGE,), "cloud": (Route.CLOUD,)}
    reached = [route for tier in scenario.tiers for route in routes[tier]]
    if len(scenario.tiers) > 1:
        reached.append(Route.EDGE_TO_CLOUD)
    plan = Planner(manifest, Figures(profile, slowdown=slowdown, clock=lambda: 0.0), reached).plan()
    return Plan(tuple(_at_tier(option, scenario, timings.tier_factor) for option in plan))


def _slowdown(table: DeviceTable, timings: Calibration) -> float:
    """How many times longer than in the profile all parts take."""
    parts_s = sum(timings.profile.segment_s)
    if table.slowdown is None:
        return max((table.whole_model_s or 0.0) / parts_s, 1.0)
    return table.slowdown if timings.pace_s is None else table.slowdown * timings.pace_s / parts_s


def _with_encoders(profile: Profile, factor: float) -> Profile:
    """The profile with encoders that take so many times longer."""
    return profile.model_copy(
        update={"encode_s": tuple(tuple(factor * seconds for seconds in levels) for levels in profile.encode_s)}
    )


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


def extra_s(scenario: Scenario) -> dict[Route, float]:
    """What a round trip takes beyond the link's delays: to the cloud and back."""
    far_s = 2 * scenario.cloud.extra_delay_s if scenario.cloud else 0.0
    return {Route.CLOUD: far_s, Route.EDGE_TO_CLOUD: far_s}
