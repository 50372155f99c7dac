"""The default policy: the greatest expected worth over the belief about the link, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from adaptation.decision import Decision
from adaptation.goal import Goal
from adaptation.hedging import Hedging, due_hedge, latest_start_s
from adaptation.plan import Choice, Option
from adaptation.snapshot import Snapshot
from adaptation.steadiness import stands_still
from adaptation.trying import tried
from adaptation.worth import Worth, worth

LIKELY = 0.5
"""A device that answers alone and hedges goes back to a tier at this chance: below it, the hedge would answer."""
HOLD, HOLD_S = 0.1, 2.0
"""On a link that stands still, a choice stays so long unless another gains such a share of its worth (0215)."""
LONGER = 2.0
"""A second thought that sends more has to gain so many times the margin: else each longer message would make the next
decision, while it is still on its way, one for a shorter one, and the level would swing."""


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """Weighs accuracy in time against latency (see `Goal`) for every option of the plan, and takes the best.

    With `hedging` it counts on local continuations of what it sends, and lets them go first where they must.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = (
        *(one.name for one in fields(Goal)),
        *(one.name for one in fields(Hedging)),
        "hedge",
    )

    goal: Goal = field(default_factory=Goal)
    hedging: Hedging | None = None

    @classmethod
    def of(cls, hedge: bool = False, **parameters: float) -> DeadlinePolicy:
        """From a settings table; raises InvalidValue for a value outside its range."""
        of_goal = {one.name: parameters.pop(one.name) for one in fields(Goal) if one.name in parameters}
        hedging = Hedging(**parameters)
        return cls(Goal(**of_goal), hedging if hedge else None)

    def decide(self, snapshot: Snapshot) -> Decision:
        """The best option, or the previous one if nothing beats it by the margin, or none if all must come too late."""
        values = worth(snapshot, self.goal, self.hedging)
        decision, value = self._choose(snapshot, values)
        if snapshot.trial is not None and decision.choice is not None:
            found = tried(snapshot.plan, values, snapshot.trial, value)
            if found is not None:
                place, lost = found
                decision = replace(_decision(snapshot, values, place, "tried: it has not run for long"), lost=lost)
                value -= lost
        if self.hedging is None or not snapshot.in_flight:
            return decision
        return self._beside_hedges(snapshot, self.hedging, values, decision, value)

    @property
    def thinks_again(self) -> bool:
        """Whether `on_sending` is to be asked. Where hedges are, they are the second thought."""
        return self.hedging is None

    def on_sending(self, snapshot: Snapshot, choice: Choice) -> Choice:
        """What to do with a frame now that its head is done: as decided, or at another level, by another route, or on
        the device, if answers, or their absence, have meanwhile made that better by the margin. Pure.

        Args:
            snapshot: taken now, with the plan as for `decide`.
            choice: what was decided; leaves the device.
        """
        option = snapshot.plan.find(choice)
        if option is None:
            return choice
        rest = snapshot.plan.rest(choice.cut)
        place = rest.columns.positions[choice]
        values = worth(replace(snapshot, plan=rest, spent_s=option.reached_s), self.goal, self.hedging)
        best, decided = values.best(), float(values.utility[place])
        if values.in_time[best] < self.goal.enough:
            return choice
        longer = rest[best].message_bytes > rest[place].message_bytes
        margin = self.goal.margin * (LONGER if longer else 1.0)
        if self.hedging is None and stands_still(snapshot):
            margin = max(margin, HOLD)
        if decided > -np.inf and values.utility[best] - decided < margin * abs(decided):
            return choice
        return rest[best].choice

    def waits(self, chance: float, remote: Option, own: Option, left_s: float, budget_s: float) -> bool:
        """Whether a finished local answer is better held back for the remote one, which comes with this chance.

        Args:
            chance: that it comes in time.
            remote, own: what was sent, and what was computed here.
            left_s: how long the local answer would be held back.
            budget_s: from capture to deadline.
        """
        return chance * (remote.accuracy - own.accuracy) > self.goal.latency_weight * left_s / budget_s

    def _choose(self, snapshot: Snapshot, values: Worth) -> tuple[Decision, float]:
        """The decision, and what the frame is worth with it."""
        best = values.best()
        likeliest = int(values.in_time.argmax())
        chance = float(values.in_time[likeliest])
        hedged = self.hedging is not None and float(values.utility[best]) > self.goal.enough
        if chance < self.goal.hopeless and not hedged:
            left_s = max(snapshot.deadline_s - snapshot.now_s, 0.0)
            return Decision(None, left_s, chance, _why_hopeless(snapshot)), 0.0
        if chance < self.goal.enough and not hedged:
            reason = "nothing is likely to be in time; this has the best chance"
            return _decision(snapshot, values, likeliest, reason), float(values.utility[likeliest])
        kept = self._kept(snapshot, values, best)
        if kept is not None:
            return _decision(snapshot, values, kept, "kept: nothing is better by the margin"), float(
                values.utility[kept]
            )
        return _decision(snapshot, values, best, _why(snapshot, best)), float(values.utility[best])

    def _beside_hedges(
        self, snapshot: Snapshot, hedging: Hedging, values: Worth, decision: Decision, value: float
    ) -> Decision:
        """The decision if the device is not needed for an earlier frame meanwhile; else the best of three: the hedge
        first, a shorter head that leaves time for it, or no hedge."""
        plan, now_s = snapshot.plan, snapshot.now_s
        option = None if decision.choice is None else plan.find(decision.choice)
        until_s = now_s + (option.device_s if option else 0.0)
        hedge = due_hedge(
            snapshot.uplink, plan, snapshot.in_flight, hedging,
            now_s=now_s, until_s=until_s, interval_s=snapshot.interval_s,
        )  # fmt: skip
        if hedge is None:
            return decision
        after = worth(replace(snapshot, device_free_s=now_s + hedge.device_s), self.goal, hedging)
        hedge_first = hedge.gain + max(float(after.utility.max()), 0.0)
        flight = next(one for one in snapshot.in_flight if one.key == hedge.key)
        own = plan.find(hedge.choice)
        assert own is not None
        slack_s = latest_start_s(own, flight, hedging) - now_s
        short = np.where(plan.columns.device_s <= slack_s, values.utility, -np.inf)
        shorter = int(short.argmax())
        both = hedge.gain + float(short[shorter])
        if max(hedge_first, both) <= value:
            return decision
        if both >= hedge_first:
            return _decision(snapshot, values, shorter, "short enough to leave time for a hedge")
        return replace(decision, first=hedge)

    def _kept(self, snapshot: Snapshot, values: Worth, best: int) -> int | None:
        """The previous choice's place if it stands."""
        if snapshot.previous is None:
            return None
        place = snapshot.plan.columns.positions.get(snapshot.previous)
        if place is None or place == best or (self.hedging is None and values.in_time[place] < self.goal.enough):
            return None
        margin = self._margin(snapshot)
        leaves = snapshot.previous.remote and not snapshot.plan[best].choice.remote
        tries = snapshot.plan[best].choice.remote and float(values.in_time[best]) < LIKELY
        if (leaves or tries) and self.hedging is not None and _hedges_can_wait(snapshot):
            margin = max(margin, self.hedging.stay)
        gain = float(values.utility[best] - values.utility[place])
        worth_now = abs(float(values.utility[place]))
        if margin * worth_now <= gain < HOLD * worth_now and self._holds(snapshot, best):
            return place
        return place if gain < margin * worth_now else None

    def _holds(self, snapshot: Snapshot, best: int) -> bool:
        """Whether a young choice stays, since the link shows no sign of moving. Not where hedges are, and not from one
        cut to another, which the device's own figures may ask for."""
        previous, other = snapshot.previous, snapshot.plan[best].choice
        if self.hedging is not None or previous is None or snapshot.changed_s is None:
            return False
        cuts = previous.remote and other.remote and previous.cut != other.cut
        return not cuts and snapshot.now_s - snapshot.changed_s < HOLD_S and stands_still(snapshot)

    def _margin(self, snapshot: Snapshot) -> float:
        """Wide after a change, so that doubt does not make the choice swing; narrow once it has stood."""
        if snapshot.changed_s is None or self.goal.settle_s == 0.0:
            return self.goal.margin
        return self.goal.margin * max(1.0 - (snapshot.now_s - snapshot.changed_s) / self.goal.settle_s, 0.1)


def _hedges_can_wait(snapshot: Snapshot) -> bool:
    """Whether deadlines are longer than frames are apart; if not, continuations begin before any answer can come."""
    captured_s = snapshot.now_s if snapshot.captured_s is None else snapshot.captured_s
    return snapshot.interval_s is None or snapshot.deadline_s - captured_s > 1.5 * snapshot.interval_s


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
