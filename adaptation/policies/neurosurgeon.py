"""The cut of least latency at the last measured rate: Kang et al., "Neurosurgeon" (ASPLOS 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adaptation.decision import Decision
from adaptation.policies.uploads import chosen, latencies_s, rates_bps
from adaptation.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class NeurosurgeonPolicy:
    """A table of predicted seconds, looked up at one rate. Knows nothing of accuracy, deadline or queue."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ()

    def decide(self, snapshot: Snapshot) -> Decision:
        """The option of least predicted latency; of equally fast ones the most accurate."""
        seconds = latencies_s(snapshot, float(rates_bps(snapshot, 1)[-1]))
        place = min(range(len(snapshot.plan)), key=lambda one: (float(seconds[one]), -snapshot.plan[one].accuracy))
        return chosen(snapshot, place, float(seconds[place]), "least latency at the last rate")
