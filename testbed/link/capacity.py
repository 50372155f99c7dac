"""What a link can carry, and when: booked in order, byte by byte, in time that is passed in."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

PACKET_BYTES = 1500
"""Largest piece that crosses a link in one go, and what one delivery opportunity of a trace carries."""


class Capacity(Protocol):
    """One direction of a link. Times are seconds since the link started; nothing here reads a clock."""

    def book(self, ready_s: float, size: int) -> float:
        """When the last of `size` bytes has left, being ready at `ready_s`, behind all that was booked before.

        Bookings come in the order of the queue. What nobody used until `ready_s` is lost. Infinite if never.
        """
        ...

    def offered_bytes(self, from_s: float, to_s: float) -> float:
        """Bytes that the link could carry in [from_s, to_s), whoever uses them. For plots."""
        ...


class Unlimited:
    """No bottleneck: everything leaves the moment it is ready."""

    def book(self, ready_s: float, size: int) -> float:
        return ready_s

    def offered_bytes(self, from_s: float, to_s: float) -> float:
        return math.inf


class Steps:
    """A rate that changes in steps; the last one lasts for ever. Rate 0 is a dead link, on which bytes wait.

    Args:
        steps: (seconds, bits per second), at least one, seconds > 0 and rates >= 0.
    """

    def __init__(self, steps: Sequence[tuple[float, float]]) -> None:
        self._starts = [0.0]
        for seconds, _ in steps[:-1]:
            self._starts.append(self._starts[-1] + seconds)
        self._rates = [rate_bps / 8 for _, rate_bps in steps]  # bytes per second
        self._free_s = 0.0

    def book(self, ready_s: float, size: int) -> float:
        at = max(ready_s, self._free_s)
        index = max(bisect_right(self._starts, at) - 1, 0)
        left = float(size)
        while left > 0 and not math.isinf(at):
            rate = self._rates[index]
            end = self._end(index)
            takes_s = left / rate if rate > 0 else math.inf
            if at + takes_s <= end:
                at += takes_s
                left = 0.0
            else:
                left -= rate * (end - at)
                at = end
                index += 1
        self._free_s = at
        return at

    def offered_bytes(self, from_s: float, to_s: float) -> float:
        return sum(
            rate * max(0.0, min(to_s, self._end(index)) - max(from_s, self._starts[index]))
            for index, rate in enumerate(self._rates)
        )

    def _end(self, index: int) -> float:
        return self._starts[index + 1] if index + 1 < len(self._starts) else math.inf


def constant(rate_bps: float) -> Steps:
    """A link of one rate, in bits per second."""
    return Steps([(math.inf, rate_bps)])
