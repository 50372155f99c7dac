"""The default policy for inputs that are not equally hard: an early exit is asked first where that is likely to pay,
and its answer is final if it is surer of it than sending the frame is worth just now.

After ApproxDet (Xu et al., SenSys 2020), which chooses by content; the sign of difficulty is the exit's confidence, as
in BranchyNet (Teerapittayanon et al., ICPR 2016). `spinn` holds it against a fixed threshold; here the threshold is
what the best way on promises over the present link, so that on a dying link less sure answers are final.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.decision import Decision, ExitFirst
from adaptation.errors import InvalidValue
from adaptation.goal import Goal
from adaptation.plan import Option
from adaptation.policies.deadline import DeadlinePolicy
from adaptation.policies.exits import first_exit
from adaptation.snapshot import Snapshot
from adaptation.worth import Worth, worth

SURE = 0.95
"""No more is asked of an exit: calibration is no better than that. Easy frames nobody has seen count as so sure."""


@dataclass(frozen=True, slots=True)
class ContentPolicy(DeadlinePolicy):
    """`DeadlinePolicy` without hedging, or an exit before what it would send.

    Attributes:
        believed: share of frames believed to be easy before any was seen ...
        frames: ... and how many seen frames that belief is worth.

    Raises:
        InvalidValue: one of them is outside its range.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = (*(one.name for one in fields(Goal)), "believed", "frames")

    believed: float = 0.5
    frames: float = 4.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.believed <= 1.0 and 0.0 < self.frames < float("inf")):
            raise InvalidValue("believed has to be from 0 to 1, frames above 0")

    @classmethod
    def of(cls, hedge: bool = False, **parameters: float) -> ContentPolicy:
        """From a settings table; raises InvalidValue for a value outside its range."""
        believed, frames = parameters.pop("believed", 0.5), parameters.pop("frames", 4.0)
        return cls(Goal(**parameters), None, believed, frames)

    def decide(self, snapshot: Snapshot) -> Decision:
        """The default's decision, or the best way behind the exit if that, exit first, is worth more."""
        usual = DeadlinePolicy.decide(self, snapshot)
        first = first_exit(snapshot)
        if first is None:
            return usual
        values = worth(snapshot, self.goal)
        start_s = max(snapshot.device_free_s, snapshot.now_s) + first[1]
        later = worth(replace(snapshot, device_free_s=start_s, spent_s=first[1]), self.goal)
        asked = self._exit_first(snapshot, first[0], values, later)
        if asked is None:
            return usual
        decision, value = asked
        instead = 0.0 if usual.choice is None else values.utility[snapshot.plan.columns.positions[usual.choice]]
        return decision if value > instead else usual

    def _exit_first(
        self, snapshot: Snapshot, exit_: Option, values: Worth, later: Worth
    ) -> tuple[Decision, float] | None:
        """The best way behind the exit and what it is worth; None if none is possible. `later` are the worths of a
        frame that has asked the exit in vain."""
        plan, own = snapshot.plan, snapshot.plan.columns.positions[exit_.choice]
        behind = [place for place, one in enumerate(plan) if one.choice.remote and one.choice.cut >= exit_.choice.cut]
        place = later.best(behind) if behind else own
        onward, in_time = float(later.utility[place]), float(values.in_time[own])
        if not behind or not np.isfinite(onward) or in_time < self.goal.hopeless:
            return None
        cost = snapshot.importance * exit_.accuracy * in_time - float(values.utility[own])
        threshold = min(max((onward + cost) / max(snapshot.importance * in_time, 1e-9), 0.0), SURE)
        confidences, shares = self._difficulty(snapshot)
        final = confidences >= threshold
        easy = float(shares @ final)
        ended = float(shares @ (final * (snapshot.importance * in_time * confidences - cost)))
        decision = Decision(
            plan[place].choice,
            easy * float(values.expected_s[own]) + (1.0 - easy) * float(later.expected_s[place]),
            easy * in_time + (1.0 - easy) * float(later.in_time[place]),
            "the exit first; its answer is final where it is surer than sending is worth",
            exit_first=ExitFirst(exit_.choice.cut, threshold),
        )
        return decision, ended + (1.0 - easy) * onward

    def _difficulty(self, snapshot: Snapshot) -> tuple[FloatArray, FloatArray]:
        """How sure the exit was lately, and the share of each; with what is believed without having seen a frame."""
        seen = [one.exit_confidence for one in snapshot.recent if one.exit_confidence is not None]
        confidences = np.array([*seen, SURE, 0.0])
        shares = np.array([1.0] * len(seen) + [self.believed * self.frames, (1.0 - self.believed) * self.frames])
        return confidences, shares / shares.sum()
