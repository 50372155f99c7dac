"""Offloading behind an exit: the device runs to its exit, and only frames that the exit is not sure of leave it.

After Laskaridis et al., "SPINN: synergistic progressive inference of neural networks over device and cloud" (MobiCom
2020): the threshold is fixed, the split is chosen for the measured rate and the share of frames that exit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.decision import Decision, ExitFirst
from adaptation.errors import InvalidValue
from adaptation.plan import Choice, Option, Route
from adaptation.policies.exits import first_exit
from adaptation.policies.uploads import chosen, latencies_s, rates_bps
from adaptation.snapshot import Snapshot

BELIEVED, FRAMES = 0.5, 4.0
"""Share of frames believed to exit before any was seen, and how many seen frames that belief is worth."""


@dataclass(frozen=True, slots=True)
class SpinnPolicy:
    """The greatest expected accuracy among the splits whose mean latency fits the deadline, else the fastest.

    Frames that come while the device is busy count as lost: the paper's throughput.

    Attributes:
        threshold: least confidence with which the exit's answer is final.
        safety: share of the harmonic mean of the last uploads' rates that is counted on.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold", "safety")

    threshold: float = 0.8
    safety: float = 0.75

    def __post_init__(self) -> None:
        if not (0.0 <= self.threshold <= 1.0 and 0.0 < self.safety <= 1.0):
            raise InvalidValue("threshold has to be from 0 to 1, safety above 0 and at most 1")

    def decide(self, snapshot: Snapshot) -> Decision:
        """See the class; no split lies before the exit, and without one in the plan all are as they are."""
        rates = rates_bps(snapshot, 5)
        rate_bps = self.safety * float(rates.size / np.sum(1.0 / rates))
        exit_ = first_exit(snapshot)
        seconds, device_s, accuracy, behind = self._mixed(snapshot, latencies_s(snapshot, rate_bps), exit_)
        fits = seconds <= snapshot.deadline_s - snapshot.now_s
        if snapshot.interval_s is not None:
            accuracy *= np.minimum(snapshot.interval_s / np.maximum(device_s, 1e-9), 1.0)
        place = int(np.where(fits, accuracy - 1e-6 * seconds, -1.0 - seconds).argmax())
        decision = chosen(snapshot, place, float(seconds[place]), "best split behind the exit")
        if exit_ is None or place not in behind:
            return decision
        return replace(decision, exit_first=ExitFirst(exit_[0].choice.cut, self.threshold))

    def _mixed(
        self, snapshot: Snapshot, seconds: FloatArray, exit_: tuple[Option, float] | None
    ) -> tuple[FloatArray, FloatArray, FloatArray, list[int]]:
        """[options]: mean latency, device time and accuracy over frames that exit and frames that go on; and the places
        of the splits behind the exit."""
        plan, columns = snapshot.plan, snapshot.plan.columns
        device_s, accuracy = columns.device_s.copy(), columns.accuracy.copy()
        if exit_ is None:
            return seconds, device_s, accuracy, []
        own, classifier_s = exit_
        remote = [place for place, one in enumerate(plan) if one.choice.remote]
        behind = [place for place in remote if plan[place].choice.cut >= own.choice.cut]
        share, busy_s = _share(snapshot, own.choice), max(snapshot.device_free_s - snapshot.now_s, 0.0)
        seconds[behind] = share * (busy_s + own.device_s) + (1.0 - share) * (seconds[behind] + classifier_s)
        device_s[behind] = share * own.device_s + (1.0 - share) * (device_s[behind] + classifier_s)
        accuracy[behind] = share * max(own.accuracy, self.threshold) + (1.0 - share) * accuracy[behind]
        seconds[[place for place in remote if place not in behind]] = np.inf
        return seconds, device_s, accuracy, behind


def _share(snapshot: Snapshot, exit_: Choice) -> float:
    """Of the frames that came to the exit, how many it was sure of."""
    seen = [
        past.choice == exit_ for past in snapshot.recent if past.choice == exit_ or past.choice.route != Route.DEVICE
    ]
    return (sum(seen) + BELIEVED * FRAMES) / (len(seen) + FRAMES)
