"""A link that moves to another base station or satellite at fixed intervals."""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.scenarios.rates.drawn import Drawn, Step


class Handovers(Drawn):
    """Every `every_s` the link is dead for `gap_s`, then has a new rate, log-normal around `median_bps`.

    Starlink assigns satellites anew every 15 seconds (Mohan et al., "A Multifaceted Look at Starlink Performance",
    WWW 2024); trains and cars meet the same pattern with other numbers.
    """

    kind: Literal["handovers"]
    median_bps: Annotated[float, Field(gt=0, le=1e10)]
    spread: Annotated[float, Field(ge=0, le=3)] = 0.4
    """Standard deviation of the rate's natural logarithm."""
    every_s: Annotated[float, Field(ge=0.5)] = 15.0
    gap_s: Annotated[float, Field(ge=0)] = 0.15
    first_s: Annotated[float, Field(ge=0)] = 5.0
    """The first one comes after so long."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.gap_s >= self.every_s:
            raise ValueError(f"gap_s = {self.gap_s:g} is not less than every_s = {self.every_s:g}")
        return self

    def drawn(self, seconds: float, chance: Random) -> list[Step]:
        steps: list[Step] = [(self.first_s, self._rate_bps(chance))] if self.first_s else []
        at_s = self.first_s
        while at_s < seconds:
            gap = [(self.gap_s, 0.0)] if self.gap_s else []
            steps += [*gap, (self.every_s - self.gap_s, self._rate_bps(chance))]
            at_s += self.every_s
        return steps

    def _rate_bps(self, chance: Random) -> float:
        return min(self.median_bps * math.exp(chance.gauss(0, self.spread)), 1e10)
