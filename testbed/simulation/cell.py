"""A link in simulated time, and the order of all that happens on it: devices that share it are played together."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from testbed.simulation.supply import Supply
from testbed.simulation.uplink import Line

Act = Callable[[float, Any], None]
"""Takes the moment, and what it was to be told then."""


class Cell:
    """What the devices of one link share: its queues, and the events in order of time.

    Args:
        supply: the link's uplink.
        downlink: of answers; None takes no time for them.
    """

    def __init__(self, supply: Supply, downlink: Supply | None = None) -> None:
        self.line = Line(supply)
        self.down = None if downlink is None else Line(downlink)
        self._events: list[tuple[float, int, Act, Any]] = []
        self._count = 0

    def at(self, moment_s: float, act: Act, about: Any) -> None:
        """Let something happen; of what is due at the same moment, the first that was said comes first."""
        self._count += 1
        heapq.heappush(self._events, (moment_s, self._count, act, about))

    def play(self) -> None:
        """Play until nothing is due any more."""
        events = self._events
        while events:
            now_s, _, act, about = heapq.heappop(events)
            act(now_s, about)
