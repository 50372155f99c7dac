"""What a link offers over time, as one non-decreasing curve of bytes: exact, invertible, and free of state.

A first-in, first-out queue over it is a single number, the position on the curve up to which bytes are promised, so
that a simulator and an oracle can carry thousands of queues at the price of one float each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.errors import TraceError

FloatArray = NDArray[np.float64]

NEVER_S = 1e9
"""The time at which bytes leave that the curve never reaches."""


class Supply:
    """A piecewise linear curve of the bytes offered since time 0. What nobody uses is lost.

    Args:
        times_s: float64, non-decreasing, first 0; equal neighbours make a jump (a packet's worth at one instant).
        offered_bytes: float64, non-decreasing, first 0, one for each time. After the last the link is dead.

    Raises:
        TraceError: the curve is malformed.
    """

    def __init__(self, times_s: ArrayLike, offered_bytes: ArrayLike) -> None:
        self.times_s: FloatArray = np.array(times_s, dtype=np.float64)
        self.offered: FloatArray = np.array(offered_bytes, dtype=np.float64)
        shaped = self.times_s.ndim == 1 and self.times_s.shape == self.offered.shape and self.times_s.size >= 2
        if not shaped or np.diff(self.times_s).min() < 0.0 or np.diff(self.offered).min() < 0.0:
            raise TraceError("a supply needs at least two times and as many bytes, neither decreasing; sort them")
        self._times: list[float] = self.times_s.tolist()
        self._offered: list[float] = self.offered.tolist()

    def at(self, time_s: float) -> float:
        """Bytes offered before a time."""
        times, offered = self._times, self._offered
        place = bisect_left(times, time_s)
        if place == 0:
            return 0.0
        if place == len(times):
            return offered[-1]
        before_s = times[place - 1]
        share = (time_s - before_s) / (times[place] - before_s)
        return offered[place - 1] + share * (offered[place] - offered[place - 1])

    def when(self, amount: float) -> float:
        """The first time by which so many bytes have been offered; `NEVER_S` if never."""
        times, offered = self._times, self._offered
        place = bisect_left(offered, amount)
        if place == 0:
            return times[0]
        if place == len(offered):
            return NEVER_S
        share = (amount - offered[place - 1]) / (offered[place] - offered[place - 1])
        return times[place - 1] + share * (times[place] - times[place - 1])

    def at_each(self, times_s: FloatArray) -> FloatArray:
        """`at` for an array of any shape."""
        place = np.clip(np.searchsorted(self.times_s, times_s, "left"), 1, self.times_s.size - 1)
        first_s, last_s = self.times_s[place - 1], self.times_s[place]
        span_s = np.where(last_s > first_s, last_s - first_s, 1.0)
        share = np.clip((times_s - first_s) / span_s, 0.0, 1.0)
        offered: FloatArray = self.offered[place - 1] + share * (self.offered[place] - self.offered[place - 1])
        return offered

    def when_each(self, amounts: FloatArray) -> FloatArray:
        """`when` for an array of any shape."""
        found = np.searchsorted(self.offered, amounts, "left")
        place = np.clip(found, 1, self.offered.size - 1)
        first, last = self.offered[place - 1], self.offered[place]
        share = np.clip((amounts - first) / np.where(last > first, last - first, 1.0), 0.0, 1.0)
        times_s = self.times_s[place - 1] + share * (self.times_s[place] - self.times_s[place - 1])
        return np.where(found >= self.offered.size, NEVER_S, np.where(found == 0, self.times_s[0], times_s))

    def window(self, from_s: float, seconds: float) -> Supply:
        """So many seconds of it from a moment on, moved to start at 0; past its end it starts again.

        Raises:
            TraceError: the supply lasts no time.
        """
        period_s = self._times[-1]
        if period_s <= 0.0:
            raise TraceError("this supply lasts no time, so there is no window of it; give a longer trace")
        rounds = int((from_s + seconds) // period_s) + 1
        shifts = np.arange(rounds)[:, None]
        times_s = np.maximum.accumulate((self.times_s[None, :] + shifts * period_s).ravel())  # rounding at the seams
        offered = np.maximum.accumulate((self.offered[None, :] + shifts * self._offered[-1]).ravel())
        whole = Supply(times_s, offered)
        to_s = from_s + seconds
        inside = slice(int(np.searchsorted(times_s, from_s, "left")), int(np.searchsorted(times_s, to_s, "left")))
        first, last = whole.at(from_s), whole.at(to_s)
        return Supply(
            np.concatenate(([0.0], times_s[inside] - from_s, [seconds])),
            np.maximum.accumulate(np.concatenate(([first], offered[inside], [last]))) - first,
        )


def steps(parts: Sequence[tuple[float, float]]) -> Supply:
    """A rate that changes in steps: (seconds, bits per second) each."""
    lengths_s, rates_bps = zip(*parts, strict=True)
    times_s = np.concatenate(([0.0], np.cumsum(lengths_s)))
    return Supply(times_s, np.concatenate(([0.0], np.cumsum(np.multiply(lengths_s, rates_bps) / 8.0))))
