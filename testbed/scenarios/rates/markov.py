"""A link that wanders between a few rates."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from pydantic import Field

from testbed.scenarios.rates.drawn import Bps, Drawn, Step

Seconds = Annotated[float, Field(ge=0.05)]


class Markov(Drawn):
    """A birth-death chain in continuous time: it stays in a state for an exponential time, then goes to a neighbour.

    It begins in the first state.
    """

    kind: Literal["markov"]
    states: Annotated[tuple[tuple[Bps, Seconds], ...], Field(min_length=2)]
    """(bit/s, mean seconds in it), neighbours side by side."""

    def drawn(self, seconds: float, chance: Random) -> list[Step]:
        steps: list[Step] = []
        at_s, state = 0.0, 0
        while at_s < seconds:
            rate_bps, mean_s = self.states[state]
            stays_s = max(chance.expovariate(1 / mean_s), 1e-3)
            steps.append((stays_s, rate_bps))
            at_s += stays_s
            state = chance.choice([one for one in (state - 1, state + 1) if 0 <= one < len(self.states)])
        return steps
