"""Parts of the model that have not run for long are tried now and then, as long as that is believed to cost little.

A figure of the plan that is too bad is never corrected by itself: what looks bad is not chosen, and what is not chosen
is not measured. So a small share of the worth of all frames may be lost on finding out. The account bounds it, as in
conservative bandits (Wu et al., ICML 2016): a frame takes a choice whose part has not run for long only if all that
this is predicted to lose is covered by what earlier frames have laid by.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from adaptation.errors import InvalidValue
from adaptation.plan import Choice, Plan
from adaptation.snapshot import Trial
from adaptation.worth import Worth


@dataclass(slots=True)
class Trials:
    """The account of one device. Not thread-safe; times are seconds on the caller's clock.

    Attributes:
        share: of the worth of each frame, what is laid by for trying.
        after_s: a part that has not run for so long may be tried.
        most: what the account holds at most, in frames.

    Raises:
        InvalidValue: a value outside its range.
    """

    share: float = 5e-4
    after_s: float = 60.0
    most: float = 1.0
    credit: float = field(default=0.0, init=False)
    _ran_s: dict[tuple[int, bool], float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not (0.0 <= self.share <= 1.0 and self.after_s > 0.0 and self.most > 0.0):
            raise InvalidValue("share has to be from 0 to 1, after_s and most above 0")

    def now(self, plan: Plan, now_s: float) -> Trial | None:
        """What may be tried with a frame that is decided now; None if nothing."""
        if self.credit <= 0.0:
            return None
        for option in plan:
            self._ran_s.setdefault(_part(option.choice), now_s)
        stale = frozenset(part for part, ran_s in self._ran_s.items() if now_s - ran_s > self.after_s)
        return Trial(self.credit, stale) if stale else None

    def decided(self, choice: Choice | None, lost: float, now_s: float) -> None:
        """A frame was decided, and gives up so much for a trial."""
        self.credit = min(self.credit + self.share, self.most) - lost
        if choice is not None:
            self._ran_s[_part(choice)] = now_s


def tried(plan: Plan, values: Worth, trial: Trial, best: float) -> tuple[int, float] | None:
    """The place of the option to try and what it is predicted to lose; None if none is covered by the account."""
    able = [_part(option.choice) in trial.stale for option in plan]
    loss = np.where(able, best - values.utility, np.inf)
    place = int(loss.argmin())
    return (place, max(float(loss[place]), 0.0)) if loss[place] <= trial.credit else None


def _part(choice: Choice) -> tuple[int, bool]:
    """What runs for a choice: the head to a cut, or all up to an answer there."""
    return choice.cut, choice.remote
