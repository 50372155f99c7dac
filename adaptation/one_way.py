"""The delay of the way down, from when a tier says that its frames arrived.

The tier's clock is not the device's, so only differences count, as in LEDBAT (Shalunov et al., RFC 6817): what passed
between a frame's arrival, less the tier's work, and its answer here is the delay of the way down and a constant that
nobody needs to know. The least of the last minute is that way without a queue, and what is above it was spent in one.
What a tier says can only excuse what the device cannot explain by its own clock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

WRAP_US: Final = 1 << 32
"""Tiers tell the time modulo this."""
_STALE_S: Final = 1000.0
"""After a longer silence nothing is known any more: the tier's clock may have wrapped unseen, or have drifted."""
_SPAN_S: Final = 10.0
_SPANS: Final = 6
"""The least delay is that of so many spans: clocks that drift by 50 ppm are 3 ms apart after them."""
_WEIGHT: Final = 0.5
"""Share of a new answer in what the next one is expected to wait ..."""
_FADES_S: Final = 0.5
"""... and the time constant with which that fades while none comes: queues empty."""
_RESOLUTION_S: Final = 1e-4
"""Less is no queue: clocks tell microseconds, and programs take some."""


class DownDelay:
    """What answers of one route wait on their way down. Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._last_us = 0
        """When the frame last told of arrived, on the tier's clock ..."""
        self._arrived_s = 0.0
        """... and in seconds since the first one did."""
        self._least: deque[tuple[int, float]] = deque(maxlen=_SPANS)
        """(which span, least delay within it)"""
        self._wait_s = 0.0
        self._heard_s = -math.inf

    def came(self, now_s: float, tier_s: float, arrived_us: int, most_s: float) -> float:
        """An answer is here; the seconds that it waited on its way down.

        Args:
            now_s: this moment.
            tier_s: what the tier took for it.
            arrived_us: when its frame arrived there, 1 to 2^32 - 1, whatever that clock shows.
            most_s: it is not held to have waited longer.
        """
        if now_s - self._heard_s > _STALE_S:
            self._least.clear()
        half = WRAP_US // 2
        self._arrived_s += 1e-6 * ((arrived_us - self._last_us + half) % WRAP_US - half) if self._least else 0.0
        self._last_us = arrived_us
        waited_s = min(self._above_least(now_s, now_s - self._arrived_s - tier_s), most_s)
        if waited_s < _RESOLUTION_S:
            waited_s = 0.0
        expected_s = self.expected_s(now_s)
        self._wait_s, self._heard_s = expected_s + _WEIGHT * (waited_s - expected_s), now_s
        return waited_s

    def expected_s(self, now_s: float) -> float:
        """What an answer that comes now is expected to have waited; 0 while none did."""
        if self._wait_s < _RESOLUTION_S:
            return 0.0
        return self._wait_s * math.exp((self._heard_s - now_s) / _FADES_S)

    def _above_least(self, now_s: float, delay_s: float) -> float:
        """How much longer it took than the least of late, which it may be itself."""
        span = int(now_s // _SPAN_S)
        while self._least and self._least[0][0] <= span - _SPANS:
            self._least.popleft()
        if not self._least or self._least[-1][0] != span:
            self._least.append((span, delay_s))
        elif delay_s < self._least[-1][1]:
            self._least[-1] = (span, delay_s)
        return delay_s - min(least for _, least in self._least)
