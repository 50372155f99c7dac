"""Expected utility over the rates of recent uploads, each as likely as the other: a distribution without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adaptation.decision import Decision
from adaptation.policies.uploads import chosen, latencies_s, rates_bps
from adaptation.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EmpiricalPolicy:
    """The greatest accuracy times the share of the last `last` uploads at whose rate it would be in time."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("last",)

    last: int = 20

    def decide(self, snapshot: Snapshot) -> Decision:
        """See the class; of equally good options the fastest."""
        rates = rates_bps(snapshot, self.last)
        seconds = np.array([latencies_s(snapshot, float(rate)) for rate in rates])  # [uploads, options]
        in_time = (seconds <= snapshot.deadline_s - snapshot.now_s).mean(axis=0)
        mean_s = np.minimum(seconds, 10.0).mean(axis=0)
        place = int((snapshot.plan.columns.accuracy * in_time - 1e-6 * mean_s).argmax())
        return chosen(snapshot, place, float(mean_s[place]), "best over recent rates")
