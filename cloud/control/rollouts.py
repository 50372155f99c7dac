"""How far a new bundle may go: pure functions of what was asked for, what was measured, and the time.

A rollout widens step by step. At each step some share of the devices, the canaries, run the new bundle and the others
the one before; the canaries' figures are compared with theirs. A difference counts as real when it exceeds what the
rules allow by so many standard errors that chance alone would show it once in a thousand looks
(two proportions, one success and one failure added to each: Agresti and Caffo, The American Statistician 54, 2000).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cloud.control.figures import Figures

SURE: Final = 3.09
"""Standard errors: one-sided, one in a thousand."""
TAIL: Final = 0.05
"""Latency is compared at the 95th percentile."""

Share = Annotated[float, Field(gt=0, le=1)]
Margin = Annotated[float, Field(ge=0, le=1)]


class Rules(BaseModel):
    """What a rollout needs to go on, and what takes it back."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: Annotated[tuple[Share, ...], Field(min_length=1, max_length=20)] = (0.05, 0.25, 1.0)
    """Shares of the devices of this model; the last one is 1."""
    hold_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 300.0
    """The least time between two steps."""
    min_frames: Annotated[int, Field(ge=1, le=1_000_000_000)] = 200
    """Frames that the canaries must have ended, and the others for a comparison."""
    give_up_s: Annotated[float, Field(gt=0, le=365 * 86_400)] = 86_400.0
    """A step that has not shown itself in this time is taken back."""
    accuracy_drop: Margin = 0.02
    """Allowed drop of the share of right answers."""
    in_time_drop: Margin = 0.05
    """Allowed drop of the share of frames answered in time."""
    failed_rise: Margin = 0.01
    """Allowed rise of the share of frames that the bundle could not answer."""
    latency_ratio: Annotated[float, Field(ge=1, le=1000)] = 1.5
    """Allowed ratio of 95th percentiles of latency."""
    refused_share: Margin = 0.1
    """Canaries that may refuse the bundle."""

    @model_validator(mode="after")
    def _widen_to_all(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)) or self.steps[-1] != 1.0:
            raise ValueError("steps must grow and end with 1.0, as in [0.05, 0.25, 1.0]")
        return self


class Stage(StrEnum):
    """Where a rollout is."""

    RUNNING = "running"
    COMPLETE = "complete"
    ROLLED_BACK = "rolled back"


class Action(StrEnum):
    """What to do with a rollout now."""

    WAIT = "wait"
    ADVANCE = "advance"
    COMPLETE = "complete"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Progress:
    """A running rollout."""

    rules: Rules
    step: int
    """Index into `rules.steps`."""
    step_since_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known about it."""

    canary: Figures
    """Of the new bundle, since the rollout began."""
    baseline: Figures
    """Of the other bundles of the model."""
    canaries: int
    """Devices that are to run it."""
    refused: int
    """Of these, those that tried it and refused it."""
    promised_accuracy: float | None = None
    """Of the new bundle's manifest; compared with where no other device knows right answers."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One share, of which less is better, at the canaries and elsewhere."""

    what: str
    canary: tuple[int, int]
    """How many, of how many."""
    baseline: tuple[int, int]
    margin: float

    @property
    def rise(self) -> float:
        return _share(self.canary) - _share(self.baseline)

    def surely_worse(self) -> bool:
        """Whether chance alone does not explain that the rise exceeds the margin."""
        (a, n), (b, m) = ((count + 1, of + 2) for count, of in (self.canary, self.baseline))
        error = math.sqrt(a / n * (1 - a / n) / n + b / m * (1 - b / m) / m)
        return a / n - b / m - self.margin > SURE * error

    def __str__(self) -> str:
        return f"{self.what}: {_share(self.canary):.1%} of {self.canary[1]} with the new bundle, " + (
            f"{_share(self.baseline):.1%} of {self.baseline[1]} without"
        )


def judge(progress: Progress, seen: Seen, now_s: float) -> Verdict:
    """What to do with a running rollout. Pure: same figures and time, same verdict."""
    rules, frames = progress.rules, seen.canary.frames
    if seen.refused > rules.refused_share * seen.canaries:
        return Verdict(Action.ROLL_BACK, f"{seen.refused} of {seen.canaries} devices tried it and refused it")
    comparisons = _comparisons(rules, seen)
    for comparison in comparisons:
        if comparison.surely_worse():
            return Verdict(Action.ROLL_BACK, str(comparison))
    waited_s = now_s - progress.step_since_s
    doubtful = [comparison for comparison in comparisons if comparison.rise > comparison.margin]
    if frames >= rules.min_frames and waited_s >= rules.hold_s and not doubtful:
        last = progress.step + 1 >= len(rules.steps)
        return Verdict(Action.COMPLETE if last else Action.ADVANCE, f"{frames} frames are as good as without it")
    if waited_s > rules.give_up_s:
        why = str(doubtful[0]) if doubtful else f"{frames} of {rules.min_frames} frames"
        return Verdict(Action.ROLL_BACK, f"it has not shown itself in {rules.give_up_s:g} s ({why})")
    if doubtful:
        return Verdict(Action.WAIT, f"not yet clear: {doubtful[0]}")
    if frames < rules.min_frames:
        return Verdict(Action.WAIT, f"{frames} of {rules.min_frames} frames")
    return Verdict(Action.WAIT, f"good so far; holding for {rules.hold_s - waited_s:.0f} s")


def _comparisons(rules: Rules, seen: Seen) -> list[_Comparison]:
    """All that there are enough figures for."""
    new, old = seen.canary, seen.baseline
    found = []
    if new.known and (old.known or seen.promised_accuracy is not None):
        wrong = (old.known - old.right, old.known)
        if not old.known and seen.promised_accuracy is not None:
            wrong = (round((1 - seen.promised_accuracy) * new.known), new.known)
        found.append(_Comparison("wrong answers", (new.known - new.right, new.known), wrong, rules.accuracy_drop))
    if old.frames >= rules.min_frames and new.frames:
        failed = _Comparison("failed frames", (new.failed, new.frames), (old.failed, old.frames), rules.failed_rise)
        late = _Comparison(
            "frames not answered in time",
            (new.frames - new.in_time, new.frames),
            (old.frames - old.in_time, old.frames),
            rules.in_time_drop,
        )
        found += [failed, late, *_slower(rules, new, old)]
    elif new.frames:
        found.append(_Comparison("failed frames", (new.failed, new.frames), (0, new.frames), rules.failed_rise))
    return found


def _slower(rules: Rules, new: Figures, old: Figures) -> list[_Comparison]:
    """Of the old bundle's frames at most one in twenty takes longer than its 95th percentile, let alone a multiple."""
    usual_s = old.quantile_s(1 - TAIL)
    if usual_s is None or not new.answered:
        return []
    limit_s = rules.latency_ratio * usual_s
    what = f"answers later than {limit_s * 1e3:.0f} ms ({rules.latency_ratio:g} times the usual 95th percentile)"
    return [_Comparison(what, (new.slower_than(limit_s), new.answered), (old.slower_than(limit_s), old.answered), TAIL)]


def canaries(rollout: str, devices: Collection[str], share: float) -> list[str]:
    """Which devices run the new bundle at a step: a wider step keeps the devices of a narrower one.

    Args:
        rollout: its id, so that each rollout begins with other devices.
        devices: names of all devices of the model.
        share: of them; at least one device is chosen if there is any.
    """
    order = sorted(devices, key=lambda name: hashlib.sha256(f"{rollout}:{name}".encode()).digest())
    return order[: math.ceil(share * len(order))]


def _share(counted: tuple[int, int]) -> float:
    return counted[0] / counted[1] if counted[1] else 0.0
