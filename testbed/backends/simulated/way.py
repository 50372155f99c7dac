"""From the devices of a link to the tiers and back, in simulated time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from adaptation.plan import Route
from adaptation.snapshot import TierState
from testbed.backends.simulated.absence import Absence
from testbed.backends.simulated.terms import supply_of
from testbed.link.weather import Weather
from testbed.scenarios.faults.partition import BACKHAUL
from testbed.scenarios.scenario import BROKER, TIERS, Played, Scenario
from testbed.simulation.cell import Cell

Answered = Callable[[Route, float, float, float], tuple[float, float]]
"""See `Conditions.answered`."""

_THROUGH = {Route.EDGE: ("edge",), Route.CLOUD: ("cloud",), Route.EDGE_TO_CLOUD: ("edge", "cloud")}


class Way:
    """A link with its queue, what befalls it, and the tiers behind it.

    Args:
        name: of the link.
        byte_s: what each byte takes in programs.
    """

    def __init__(self, scenario: Scenario, played: Played, name: str, byte_s: float) -> None:
        self.link = played.links[name]
        up, down = (supply_of(one, scenario.seconds, byte_s) for one in (self.link.uplink, self.link.downlink))
        self.cell = Cell(up, down)
        self._tiers = {tier: Absence.of(_needed(scenario, tier), scenario.fault, played.occurrences) for tier in TIERS}
        self._far_s = scenario.cloud.extra_delay_s if scenario.cloud else 0.0
        self._weather: dict[tuple[str, str], Weather] = {}
        for direction, forward in product(("up", "down"), (*TIERS, BACKHAUL)):
            to = "cloud" if forward == BACKHAUL else forward
            conditions = (played.links[BACKHAUL] if forward == BACKHAUL else self.link).conditions
            weather = Weather([one for one in conditions if one.concerns(direction, to)])
            weather.start(0.0)
            self._weather[direction, forward] = weather
        calm = not (self.link.conditions or played.links[BACKHAUL].conditions)
        self._plain = calm and not any(self._tiers.values())

    def tiers(self, now_s: float) -> Mapping[Route, TierState]:
        """What a device sees of them: a dead one's connections break at once."""
        return {
            route: TierState(not any(self._tiers[tier].is_dead(now_s) for tier in tiers))
            for route, tiers in _THROUGH.items()
        }

    def answered(self) -> Answered | None:
        """When one device's messages are answered, where anything befalls them; in each direction nothing overtakes."""
        if self._plain:
            return None
        latest_s: dict[tuple[str, str], float] = {}

        def arrival(direction: str, forward: str, at_s: float) -> float:
            way = direction, forward
            latest_s[way] = max(latest_s.get(way, 0.0), self._weather[way].arrival(at_s))
            return latest_s[way]

        def answered(route: Route, arrives_s: float, tier_s: float, rest_s: float) -> tuple[float, float]:
            near = "cloud" if route is Route.CLOUD else "edge"
            at_s = self._tiers[near].awake_s(arrival("up", near, arrives_s))
            if route is Route.EDGE_TO_CLOUD:
                at_s = self._tiers["cloud"].awake_s(arrival("up", BACKHAUL, at_s + self._far_s))
                at_s = arrival("down", BACKHAUL, at_s + self._far_s)
                rest_s -= 2 * self._far_s
            tier_s *= self._tiers[_THROUGH[route][-1]].factor(at_s)
            return arrival("down", near, at_s + tier_s + rest_s), tier_s

        return answered


def _needed(scenario: Scenario, tier: str) -> set[str]:
    """The programs without which devices do not reach a tier."""
    return {tier, BROKER} if scenario.broker is not None and scenario.broker.tier == tier else {tier}
