"""The way down: what long answers take, learnt from those whose way up is known well enough.

Short answers (a class, a few boxes) take next to no time, and their way is part of a route's round trip. Long ones
(masks, depth maps) take their own, and queue behind each other: if the rate is r, an answer is there 8 bytes / r after
it left its tier, or after the one before it was there. When it left its tier nobody says, since clocks differ; it
follows from what is believed of the uplink, and an answer teaches only where that leaves little doubt.
"""

from __future__ import annotations

import math

from adaptation.arrays import FloatArray

TELLING_BYTES = 1500.0
"""Shorter answers fit into one packet, and say nothing about a rate."""
CERTAIN = 0.3
"""Doubt about when an answer left its tier, as a share of the time that it took, up to which it teaches ..."""
CERTAIN_S = 0.005
"""... or simply this much."""
WEIGHT = 0.25
"""Share of a new answer in what a byte is believed to take."""


VAGUE = 0.2
"""Share of the time on the way down by which that is not known: it says so much less about the way up."""
FORGET_S = 20.0
"""Time constant with which that is forgotten while no long answer comes: what is believed to be too thin is not used,
and what is not used is not measured."""


class Downlink:
    """The rate of the way down, as a mean of what bytes took. Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._seconds_per_byte = 0.0
        self._learned_s = self._busy_until_s = float("-inf")

    def rate_bps(self, now_s: float) -> float:
        """Infinite while no answer was ever seen to take time."""
        per_byte = self._per_byte(now_s)
        return 8.0 / per_byte if per_byte > 0.0 else float("inf")

    def _per_byte(self, now_s: float) -> float:
        if self._seconds_per_byte == 0.0:
            return 0.0
        return self._seconds_per_byte * math.exp((self._learned_s - now_s) / FORGET_S)

    def came(self, size: float, now_s: float, left_s: FloatArray, weights: FloatArray) -> float:
        """A long answer is here.

        Args:
            size: bytes, at least `TELLING_BYTES`.
            now_s: this moment.
            left_s: [rates], when it left its tier if the uplink's rate is the one at this place, its way taken off.
            weights: [rates], what is believed of the uplink.

        Returns:
            Seconds for which it was on its way down beyond the round trip, as far as that is known.
        """
        before_s, self._busy_until_s = self._busy_until_s, now_s
        ago_s = now_s - left_s
        possible = weights * (ago_s >= 0.0)
        share = float(possible.sum())
        if share <= 0.0:
            return 0.0
        mean_s = float(possible @ ago_s) / share
        doubt_s = math.sqrt(max(float(possible @ (ago_s * ago_s)) / share - mean_s * mean_s, 0.0))
        waited_s = min(max(before_s - (now_s - mean_s), 0.0), mean_s)
        per_byte = self._per_byte(now_s)
        if doubt_s <= max(CERTAIN * (mean_s - waited_s), CERTAIN_S):
            per_byte += (WEIGHT if per_byte > 0.0 else 1.0) * ((mean_s - waited_s) / size - per_byte)
            self._seconds_per_byte, self._learned_s = per_byte, now_s
        return min(waited_s + per_byte * size, mean_s)
