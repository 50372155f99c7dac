"""How many workers there should be: from the work, from the queue, and from what could not be in time. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Final

_USE: Final = 0.75
"""Share of the time that workers should be at work; the rest is for what comes at once."""
_DRAIN_S: Final = 1.0
"""In so long the queue that is here should be gone."""
_LEAST_ANSWERED: Final = 0.25
"""However many frames are turned away, the workers are at most quadrupled at once: what they would need is a guess."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tier saw of its cluster for a while.

    Attributes:
        seconds: for how long.
        busy_s: work done in that time, of all workers together.
        offered: frames that came.
        turned_away: those of them that were refused, pushed out or dropped, because they could not be in time.
        wait_s: how long a frame arriving now would wait.
        workers: how many there are.
    """

    seconds: float
    busy_s: float
    offered: int
    turned_away: int
    wait_s: float
    workers: int


def demand(seen: Seen) -> float:
    """How many workers would be at work all the time, with nobody turned away and the queue drained in a second.

    Those at work answer the frames that were not turned away; the others would have needed as much each.
    """
    answered = 1.0 - seen.turned_away / seen.offered if seen.offered else 1.0
    return seen.busy_s / seen.seconds / max(answered, _LEAST_ANSWERED) + seen.wait_s * seen.workers / _DRAIN_S


class Scaling:
    """Up at once, down only when fewer have been enough for a while, so that a pause between bursts costs nothing.

    Args:
        least, most: bounds on the number.
        calm_s: how long fewer must have been enough.
    """

    def __init__(self, least: int, most: int, calm_s: float) -> None:
        self._least = least
        self._most = most
        self._calm_s = calm_s
        self._wanted: deque[tuple[float, int]] = deque()
        """When it was wanted, and how many: of late, and each more than all after it; the first is the most."""

    def decide(self, seen: Seen, now_s: float) -> int:
        """How many workers there should be from now on."""
        wanted = min(max(ceil(demand(seen) / _USE), self._least), self._most)
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        while self._wanted and self._wanted[0][0] < now_s - self._calm_s:
            self._wanted.popleft()
        self._wanted.append((now_s, wanted))
        return self._wanted[0][1]
