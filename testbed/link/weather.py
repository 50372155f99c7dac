"""All conditions that act on one direction of one forward, on the emulator's clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence

from testbed.link.conditions import During


class Weather:
    """Calm until it is started.

    Args:
        conditions: those that concern this direction of this forward, in order of effect.
    """

    def __init__(self, conditions: Sequence[During] = ()) -> None:
        self._delaying = [condition.delaying() for condition in conditions]
        self._start_s = math.inf

    def start(self, now_s: float) -> None:
        """Times of the conditions count from now on."""
        self._start_s = now_s

    def arrival(self, at_s: float) -> float:
        """When bytes arrive that would arrive at `at_s` in calm weather."""
        if at_s < self._start_s:
            return at_s
        since_s = at_s - self._start_s
        for delaying in self._delaying:
            since_s = delaying(since_s)
        return self._start_s + since_s


class Breaks:
    """When the connections of which forwards are to be broken.

    Args:
        conditions: of the whole link.
    """

    def __init__(self, conditions: Iterable[During] = ()) -> None:
        self._times = heapq.merge(*(_told(condition) for condition in conditions))
        self._start_s = math.inf
        self._next = next(self._times, None)

    def start(self, now_s: float) -> None:
        """Times count from now on."""
        self._start_s = now_s

    @property
    def next_s(self) -> float:
        """When the next is due; infinite if none is, or before the start."""
        return math.inf if self._next is None else self._start_s + self._next[0]

    def due(self, now_s: float) -> list[str | None]:
        """Forwards whose connections are to be broken by now, None for all; each is told once."""
        found: list[str | None] = []
        while self._next is not None and self.next_s <= now_s:
            found.append(self._next[1] or None)
            self._next = next(self._times, None)
        return found


def _told(condition: During) -> Iterator[tuple[float, str]]:
    return ((at_s, condition.forward or "") for at_s in condition.resets_s())
