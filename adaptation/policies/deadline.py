"""The default policy: the greatest expected worth over the belief about the link, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

from adaptation.values import Decision, Goal, Snapshot
from adaptation.worth import Worth, worth


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """Weighs accuracy in time against latency (see `Goal`) for every option of the plan, and takes the best."""

    PARAMETERS: ClassVar[tuple[str, ...]] = tuple(goal.name for goal in fields(Goal))

    goal: Goal = field(default_factory=Goal)

    @classmethod
    def of(cls, **parameters: float) -> DeadlinePolicy:
        """From a settings table; raises InvalidValue for a value outside its range."""
        return cls(Goal(**parameters))

    def decide(self, snapshot: Snapshot) -> Decision:
        """The best option, or the previous one if nothing beats it by the margin, or none if all must come too late."""
        values = worth(snapshot, self.goal)
        likeliest = int(values.in_time.argmax())
        chance = float(values.in_time[likeliest])
        if chance < self.goal.hopeless:
            return Decision(None, max(snapshot.deadline_s - snapshot.now_s, 0.0), chance, _why_hopeless(snapshot))
        if chance < self.goal.enough:
            return _decision(snapshot, values, likeliest, "nothing is likely to be in time; this has the best chance")
        best = values.best()
        kept = self._kept(snapshot, values, best)
        if kept is not None:
            return _decision(snapshot, values, kept, "kept: nothing is better by the margin")
        return _decision(snapshot, values, best, _why(snapshot, best))

    def _kept(self, snapshot: Snapshot, values: Worth, best: int) -> int | None:
        """The previous choice's place if it stands."""
        if snapshot.previous is None:
            return None
        place = snapshot.plan.columns.positions.get(snapshot.previous)
        if place is None or place == best or values.in_time[place] < self.goal.enough:
            return None
        gain = float(values.utility[best] - values.utility[place])
        return place if gain < self.goal.margin * abs(float(values.utility[place])) else None


def _decision(snapshot: Snapshot, values: Worth, place: int, reason: str) -> Decision:
    return Decision(
        choice=snapshot.plan[place].choice,
        expected_s=float(values.expected_s[place]),
        in_time=float(values.in_time[place]),
        reason=reason,
    )


def _why(snapshot: Snapshot, best: int) -> str:
    uplink = snapshot.uplink
    if snapshot.plan[best].choice.remote:
        return "best expected worth"
    if uplink is None or not any(state.reachable for state in snapshot.tiers.values()):
        return "no tier is reachable"
    if uplink.alive < 0.5:
        return f"the uplink seems dead (silent for {uplink.silent_s * 1e3:.0f} ms)"
    return "best expected worth"


def _why_hopeless(snapshot: Snapshot) -> str:
    left_s = snapshot.deadline_s - snapshot.now_s
    if left_s <= 0.0:
        return "the deadline has passed"
    busy_s = snapshot.device_free_s - snapshot.now_s
    if busy_s >= left_s:
        return f"the device is busy for {busy_s * 1e3:.0f} ms, {left_s * 1e3:.0f} ms are left"
    return f"no option can answer within the {left_s * 1e3:.0f} ms left"
