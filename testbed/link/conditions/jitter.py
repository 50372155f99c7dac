"""Delay that varies from packet to packet."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field

from testbed.link.conditions.during import Delaying, During

_NORMAL = NormalDist()
_MOST = 1 - 1e-12


class Jitter(During):
    """Adds an exponentially distributed delay to each packet.

    Neighbouring delays are tied by a first-order autoregressive Gaussian process whose quantiles are mapped to the
    exponential's (a Gaussian copula). In a stream a late packet holds up those behind it.
    """

    kind: Literal["jitter"]
    mean_s: Annotated[float, Field(gt=0, le=10)]
    correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the Gaussian process, from one packet to the next."""
    seed: int = 0

    def delaying(self) -> Delaying:
        drawn = self._delays_s()
        return lambda at_s: at_s + next(drawn) if self.holds(at_s) else at_s

    def _delays_s(self) -> Iterator[float]:
        chance = random.Random(self.seed)
        fresh = math.sqrt(1 - self.correlation**2)
        state = chance.gauss(0, 1)
        while True:
            yield -self.mean_s * math.log1p(-min(_NORMAL.cdf(state), _MOST))
            state = self.correlation * state + fresh * chance.gauss(0, 1)
