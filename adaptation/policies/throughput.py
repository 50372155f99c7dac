"""Throughput rules of adaptive streaming: one predicted rate, and the best answer that it lets be in time.

`ewma`: an exponentially weighted mean of finished uploads. `harmonic`: the harmonic mean of the last five, with a
safety factor, as in FESTIVE (Jiang et al., CoNEXT 2012) and robust MPC (Yin et al., SIGCOMM 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.decision import Decision
from adaptation.errors import InvalidValue
from adaptation.policies.uploads import chosen, latencies_s, rates_bps
from adaptation.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ThroughputPolicy:
    """The most accurate option that is in time at the predicted rate, the fastest where none is.

    Attributes:
        harmonic: which mean.
        safety: share of the mean that is counted on.
        weight: of the newest upload in the exponential mean.
        last: uploads in the harmonic mean.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("safety", "weight", "last")

    harmonic: bool = False
    safety: float = 1.0
    weight: float = 0.3
    last: int = 5

    def __post_init__(self) -> None:
        if not (0.0 < self.safety <= 1.0 and 0.0 < self.weight <= 1.0 and self.last >= 1):
            raise InvalidValue("safety and weight have to be above 0 and at most 1, last at least 1")

    @classmethod
    def of_ewma(cls, **parameters: float) -> ThroughputPolicy:
        """The exponential mean, from a settings table."""
        return cls(harmonic=False, **parameters)  # type: ignore[arg-type]

    @classmethod
    def of_harmonic(cls, **parameters: float) -> ThroughputPolicy:
        """The harmonic mean, from a settings table; three quarters of it are counted on unless told otherwise."""
        return cls(harmonic=True, **({"safety": 0.75} | parameters))  # type: ignore[arg-type]

    def decide(self, snapshot: Snapshot) -> Decision:
        """See the class."""
        rates = rates_bps(snapshot, self.last if self.harmonic else 30)
        seconds = latencies_s(snapshot, self.safety * self._mean(rates))
        in_time = seconds <= snapshot.deadline_s - snapshot.now_s
        if not in_time.any():
            place = int(seconds.argmin())
            return chosen(snapshot, place, float(seconds[place]), "nothing fits; this is the fastest")
        value = np.where(in_time, snapshot.plan.columns.accuracy - 1e-6 * seconds, -np.inf)
        place = int(value.argmax())
        return chosen(snapshot, place, float(seconds[place]), "the most accurate that fits the mean rate")

    def _mean(self, rates: FloatArray) -> float:
        if self.harmonic:
            return float(rates.size / np.sum(1.0 / rates))
        shares = (1.0 - self.weight) ** np.arange(rates.size - 1, -1, -1)
        return float(shares @ rates / shares.sum())
