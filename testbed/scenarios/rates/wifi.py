"""Wi-Fi to somebody who walks away from the access point and back."""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.scenarios.rates.drawn import Drawn, Step

MCS: tuple[tuple[float, float], ...] = (
    (2, 6.5e6), (5, 13e6), (9, 19.5e6), (11, 26e6), (15, 39e6), (18, 52e6), (20, 58.5e6), (25, 65e6),
)  # fmt: skip
"""(least signal-to-noise ratio in dB, bit/s): IEEE 802.11n, 20 MHz, one stream, long guard interval."""


class Wifi(Drawn):
    """Log-distance path loss with log-normal shadowing, and the fastest rate that the signal allows.

    Distance goes evenly from `near_m` to `far_m` and back in `walk_s`.
    """

    kind: Literal["wifi"]
    near_m: Annotated[float, Field(ge=1)] = 3.0
    far_m: Annotated[float, Field(ge=1)] = 30.0
    walk_s: Annotated[float, Field(gt=0)] = 30.0
    snr_1m_db: float = 65.0
    """Signal-to-noise ratio one metre away."""
    exponent: Annotated[float, Field(ge=1.5, le=6)] = 3.3
    """Of the path loss: 2 in the open, 3 to 4 through walls."""
    shadowing_db: Annotated[float, Field(ge=0, le=20)] = 3.0
    """Standard deviation of what changes every `step_s`."""
    airtime: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the rate that is left after headers, contention and other people."""
    step_s: Annotated[float, Field(ge=0.05, le=10)] = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.far_m < self.near_m:
            raise ValueError(f"far_m = {self.far_m:g} is less than near_m = {self.near_m:g}")
        return self

    def rate_bps(self, distance_m: float, shadow_db: float = 0.0) -> float:
        """What is left of the rate at a distance; 0 where the slowest rate is too fast."""
        snr_db = self.snr_1m_db - 10 * self.exponent * math.log10(distance_m) + shadow_db
        return self.airtime * max((rate for least_db, rate in MCS if snr_db >= least_db), default=0.0)

    def drawn(self, seconds: float, chance: Random) -> list[Step]:
        steps: list[Step] = []
        for number in range(math.ceil(seconds / self.step_s)):
            phase = (number * self.step_s / self.walk_s) % 1
            distance_m = self.near_m + (self.far_m - self.near_m) * (1 - abs(1 - 2 * phase))
            steps.append((self.step_s, self.rate_bps(distance_m, chance.gauss(0, self.shadowing_db))))
        return steps
