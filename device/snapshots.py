"""What the agent knows when it decides: the link, the tiers, what it chose before, and how recent frames ended."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from adaptation.budget import ByteBudget
from adaptation.decision import Decision
from adaptation.goal import Allowance
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Plan, Route
from adaptation.snapshot import LinkEstimate, Past, Snapshot
from adaptation.trying import Trials
from device.frames import OpenFrame
from device.hedges import Hedges
from device.tiers import TierLink
from protocol.messages import Refusal, Result

RECENT = 64
"""Ended frames that a policy may learn from."""


class Snapshots:
    """Takes the snapshots of one agent. Belongs to the event loop's thread.

    Args:
        plan: the plan in force.
        estimator: of the uplink.
        interval_s: between two captures.
        clock: the agent's.
        budget: of bytes on the uplink, from now on; None leaves them unpriced.
    """

    def __init__(
        self,
        plan: Callable[[], Plan],
        estimator: UplinkEstimator,
        interval_s: float,
        clock: Callable[[], float],
        budget: ByteBudget | None,
    ) -> None:
        self._plan = plan
        self._estimator = estimator
        self._interval_s = interval_s
        self._clock = clock
        self._budget = budget
        self._links: Mapping[Route, TierLink] = {}
        self._hedges: Hedges | None = None
        self._began_s = self._changed_s = clock()
        self._previous: Choice | None = None
        self._trials = Trials()
        self._recent: deque[Past] = deque(maxlen=RECENT)
        self._given_up: dict[int, Past] = {}
        self._believed_s = -math.inf
        self.believed: LinkEstimate | None = None
        """The last estimate of the uplink; None before the first."""

    def use(self, links: Mapping[Route, TierLink], hedges: Hedges | None) -> None:
        """The tiers by route, and who goes on locally with frames that were sent."""
        self._links, self._hedges = links, hedges

    def take(self, frame: OpenFrame, *, device_free_s: float | None = None) -> Snapshot:
        """What is known now, for a decision about a frame.

        Args:
            frame: open.
            device_free_s: when the device can compute for it; None: now.
        """
        now_s = self._clock()
        uplink = self.estimate() if self._links else None
        if self._hedges is not None and uplink is not None and self._hedges.drop_useless(uplink):
            uplink = self.estimate()
        plan = self._plan()
        return Snapshot(
            now_s=now_s,
            deadline_s=frame.deadline_s,
            device_free_s=now_s if device_free_s is None else device_free_s,
            plan=plan,
            uplink=uplink,
            tiers={route: link.state(route) for route, link in self._links.items()},
            previous=self._previous,
            captured_s=frame.captured_s,
            interval_s=self._interval_s,
            in_flight=self._hedges.in_flight() if self._hedges is not None else (),
            recent=tuple(self._recent),
            changed_s=self._changed_s,
            importance=frame.importance,
            allowance=None if self._budget is None else self._allowance(now_s, self._budget),
            trial=None if frame.late else self._trials.now(plan, now_s),
        )

    def estimate(self, *, fresh_s: float = 0.0) -> LinkEstimate:
        """The uplink as it is believed to be now, or was less than so many seconds ago."""
        now_s = self._clock()
        if self.believed is None or now_s - self._believed_s >= fresh_s:
            self.believed, self._believed_s = self._estimator.estimate(now_s), now_s
        return self.believed

    def decided(self, decision: Decision, at_s: float) -> None:
        """A live frame's decision, taken from the snapshot of that moment."""
        self._trials.decided(decision.choice, decision.lost, at_s)
        if decision.choice is not None and decision.choice != self._previous:
            self._previous, self._changed_s = decision.choice, at_s

    def note(self, frame: OpenFrame, *, answered: bool, tier_s: float = 0.0, confidence: float | None = None) -> None:
        """Keep what later decisions may learn from a frame that ends."""
        assert frame.choice is not None
        if frame.late:
            return
        now_s = self._clock()
        sent_s = frame.sent_s if frame.choice.remote else now_s
        in_time = answered and now_s <= frame.deadline_s
        alone = frame.exit_confidence is None and not frame.failed
        self._recent.append(
            Past(
                frame.choice, frame.message_bytes, sent_s, now_s, in_time, answered, tier_s, confidence,
                frame.device_s if alone else 0.0, frame.exit_confidence,
            )
        )  # fmt: skip

    def gave_up(self, frame: OpenFrame) -> None:
        """A live frame got no answer in time; one that comes yet still teaches."""
        if frame.late:
            return
        self.note(frame, answered=False)
        self._given_up[frame.id] = self._recent[-1]
        if len(self._given_up) > RECENT:
            del self._given_up[next(iter(self._given_up))]

    def ended_late(self, frame_id: int, end: Result | Refusal | str) -> None:
        """A tier's word about a frame that may have been given up: its answer is noted after all."""
        past = self._given_up.pop(frame_id, None)
        if past is not None and isinstance(end, Result):
            tier_s = 1e-6 * end.timings.total_us
            self._recent.append(replace(past, ended_s=self._clock(), answered=True, tier_s=tier_s))

    def _allowance(self, now_s: float, budget: ByteBudget) -> Allowance:
        """What a frame may spend; one link serves both of its routes."""
        spent_bytes = sum(link.spent_bytes for link in set(self._links.values()))
        return budget.allowance(spent_bytes, now_s - self._began_s, self._interval_s)
