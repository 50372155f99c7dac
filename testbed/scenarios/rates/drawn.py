"""What all drawn links share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from testbed.link.settings import DirectionSettings

Bps = Annotated[float, Field(ge=0, le=1e10)]
Step = tuple[float, float]
"""(seconds, bit/s)"""


class Drawn(BaseModel, ABC):
    """A direction whose rate follows from parameters and chance."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    delay_s: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Propagation, one way."""
    queue_bytes: Annotated[int, Field(ge=3000, le=1 << 26)] = 65536
    """Bound on what waits in front of the bottleneck."""

    @abstractmethod
    def drawn(self, seconds: float, chance: Random) -> list[Step]:
        """Steps that last at least `seconds`; the same for the same state of `chance`."""

    def played(self, seconds: float, chance: Random) -> DirectionSettings:
        """The direction as the emulator plays it."""
        steps = tuple(self.drawn(seconds, chance))
        return DirectionSettings(kind="steps", steps=steps, delay_s=self.delay_s, queue_bytes=self.queue_bytes)
