"""How many edges a fleet needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from testbed.errors import ScenarioError
from testbed.fleet.run import Served, serve
from testbed.fleet.settings import Fleet


@dataclass(frozen=True, slots=True)
class Capacity:
    """The fewest edges that keep the goal, and what they give."""

    fleet: Fleet
    served: Served


def edges_needed(fleet: Fleet, *, goal_s: float, percent: float = 99.0) -> Capacity:
    """The fewest edges with which `percent` of all frames are answered within `goal_s`.

    Found by doubling and halving, which takes it that another edge never makes things worse.

    Args:
        fleet: `edges` is not looked at; a frame counts until the later of its deadline and the goal.

    Raises:
        ScenarioError: no number of edges does: devices and cells alone take too long.
    """
    fleet = replace(fleet, deadline_s=max(fleet.deadline_s, goal_s))
    low, high = 0, min(max(math.ceil(replace(fleet, edges=1).tier_load), 1), fleet.devices)
    while not _keeps(served := serve(replace(fleet, edges=high)), goal_s, percent):
        if high == fleet.devices:
            raise ScenarioError(
                f"with an edge for each device, {percent:g} % of the frames still take "
                f"{served.percentile_s(percent):.3g} s, more than {goal_s:g} s; a cell that carries more, "
                "a device that computes less or a faster tier is needed"
            )
        low, high = high, min(2 * high, fleet.devices)
    found = Capacity(replace(fleet, edges=high), served)
    while high - low > 1:
        middle = (low + high) // 2
        tried = Capacity(replace(fleet, edges=middle), serve(replace(fleet, edges=middle)))
        if _keeps(tried.served, goal_s, percent):
            high, found = middle, tried
        else:
            low = middle
    return found


def _keeps(served: Served, goal_s: float, percent: float) -> bool:
    return served.percentile_s(percent) <= goal_s
