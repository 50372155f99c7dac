"""Frames in flight that may not be answered in time: continuations on the device, and what is taken back of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from adaptation.decision import Hedge
from adaptation.hedging import chance_in_time, due_hedge, front_to_send, wake_s
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Plan, Route
from adaptation.policies import DeadlinePolicy
from adaptation.snapshot import InFlight, LinkEstimate
from device.compute import Compute
from device.frames import OpenFrame, Step
from device.tiers import TierLink
from runtime.codecs.learned import RANS_HEADER_BYTES

AT_ONCE_S = 1e-3
"""What begins within this time cannot wait: timers of an event loop are no more exact."""


class Hedges:
    """Decides about and runs the continuations of one agent. Belongs to the event loop's thread.

    Args:
        policy: its `hedging` has to be set.
        compute: the device's processor.
        plan: the plan in force.
        estimator: of the uplink.
        frames: every open frame.
        links: the tiers by route.
        embedded: (cut, level) of the payloads whose fronts are worth what a lower level is.
        interval_s: between two captures.
        clock: the agent's.
        deliver: called once with a frame and its continuation's answer, when it is to be handed out.
    """

    def __init__(
        self,
        policy: DeadlinePolicy,
        compute: Compute,
        plan: Callable[[], Plan],
        estimator: UplinkEstimator,
        frames: Callable[[], Iterable[OpenFrame]],
        links: Mapping[Route, TierLink],
        embedded: Container[tuple[int, int | None]],
        interval_s: float,
        clock: Callable[[], float],
        deliver: Callable[[OpenFrame, Choice, NDArray[Any]], None],
    ) -> None:
        assert policy.hedging is not None
        self._policy = policy
        self._hedging = policy.hedging
        self._compute = compute
        self._plan = plan
        self._estimator = estimator
        self._frames = frames
        self._links = links
        self._embedded = embedded
        self._interval_s = interval_s
        self._clock = clock
        self._deliver = deliver
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def in_flight(self) -> tuple[InFlight, ...]:
        """The frames that a continuation could still serve, the oldest first."""
        return tuple(self._flight(frame) for frame in self._frames() if frame.step is Step.SENT and not frame.hedged)

    def look_again(self) -> None:
        """Something was sent or computed: think anew about when the next continuation may have to begin."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        flights = self.in_flight()
        soon_s = wake_s(self._plan(), flights, self._hedging, self._clock()) if flights else None
        if soon_s is not None:
            self._timer = asyncio.get_running_loop().call_at(soon_s, self._wake.set)

    async def run(self) -> None:
        """Begin continuations when they cannot wait and the device is idle; runs until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._compute.busy:
                async with self._compute.turn():
                    await self._begin_due()
                self.look_again()

    async def _begin_due(self) -> None:
        now_s = self._clock()
        hedge = due_hedge(
            self._estimator.estimate(now_s), self._plan(), self.in_flight(), self._hedging,
            now_s=now_s, until_s=now_s + AT_ONCE_S, interval_s=self._interval_s,
        )  # fmt: skip
        if hedge is not None:
            await self.go_on(hedge)

    async def go_on(self, hedge: Hedge) -> None:
        """Continue a frame, the processor's turn being the caller's; its answer is handed out now or held back.

        Raises:
            BundleError: engine or exit failed.
        """
        frame = next((frame for frame in self._frames() if self._flight_key(frame) == hedge.key), None)
        if frame is None or frame.step is not Step.SENT:
            return
        frame.hedged = True
        if hedge.chance < self._hedging.useless:
            self.cancel(frame)
        began_s = self._clock()
        logits = await self._compute.answer(frame, hedge.choice.cut)
        frame.hedge_s += self._clock() - began_s
        if not frame.ended:
            self._hand_out(frame, hedge.choice, logits)

    def cancel(self, frame: OpenFrame) -> None:
        """Nothing is expected from the tier any more: take back what has not left."""
        if frame.awaited and frame.choice is not None:
            frame.awaited = False
            self._links[frame.choice.route].give_up(frame.id)

    def drop_useless(self, uplink: LinkEstimate) -> bool:
        """Take back what is of no use: the end of payloads whose front is worth more, and frames that will not be
        answered in time; whether there was any."""
        now_s, dropped = self._clock(), False
        for frame in list(self._frames()):
            if frame.step is not Step.SENT or not frame.awaited:
                continue
            if self._cut_short(uplink, frame, now_s):
                dropped = True
                continue
            late = now_s - frame.captured_s > self._interval_s
            if late and self._chance(uplink, frame, now_s) < self._hedging.useless:
                self.cancel(frame)
                dropped = True
        return dropped

    def _cut_short(self, uplink: LinkEstimate, frame: OpenFrame, now_s: float) -> bool:
        """Send only the front of an embedded payload on its way, where that is worth more; whether it was done."""
        choice = frame.choice
        if choice is None or (choice.cut, choice.level) not in self._embedded:
            return False
        plan, link = self._plan(), self._links[choice.route]
        front = front_to_send(uplink, plan, self._flight(frame), now_s, link.written(frame.id))
        whole = plan.find(choice)
        if front is None or whole is None:
            return False
        share = front.payload_bytes / whole.payload_bytes
        left = frame.front_bytes if frame.front_of else len(frame.payload)
        shortened = link.shorten(frame.id, max(round(share * left), RANS_HEADER_BYTES))
        if shortened is None:
            return False
        frame.front_of, frame.choice = frame.front_of or choice, front.choice
        frame.front_bytes = left - shortened.taken_back
        frame.message_bytes -= shortened.taken_back
        return True

    def _hand_out(self, frame: OpenFrame, choice: Choice, logits: NDArray[Any]) -> None:
        """Now, or shortly before the deadline if the tier's answer may still come and is worth the wait."""
        now_s = self._clock()
        plan = self._plan()
        own, remote = plan.find(choice), None if frame.choice is None else plan.find(frame.choice)
        if frame.awaited and own is not None and remote is not None:
            chance = self._chance(self._estimator.estimate(now_s), frame, now_s)
            last_s = frame.deadline_s - 0.5 * self._hedging.guard_s
            budget_s = frame.deadline_s - frame.captured_s
            if last_s > now_s and self._policy.waits(chance, remote, own, last_s - now_s, budget_s):
                frame.kept_answer = choice, logits
                frame.held = asyncio.get_running_loop().call_at(last_s, self._deliver, frame, choice, logits)
                return
        self._deliver(frame, choice, logits)

    def _chance(self, uplink: LinkEstimate, frame: OpenFrame, now_s: float) -> float:
        option = None if frame.choice is None else self._plan().find(frame.choice)
        return chance_in_time(uplink, self._flight(frame), uplink.beyond_s(option), now_s)

    def _flight(self, frame: OpenFrame) -> InFlight:
        assert frame.choice is not None
        key = self._flight_key(frame)
        return InFlight(
            key, frame.choice, frame.captured_s, frame.deadline_s, frame.head_s, frame.awaited, frame.importance
        )

    def _flight_key(self, frame: OpenFrame) -> object:
        remote = frame.choice is not None and frame.choice.remote
        return self._links[frame.choice.route].key(frame.id) if frame.choice is not None and remote else None
