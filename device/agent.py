"""The agent: takes frames from capture to their end.

Capture, compute and network overlap: while one frame waits for its answer, the next is in the head. What a frame is to
do is decided when the device takes it up, not earlier. Every captured frame ends exactly once, in the history.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptation.budget import ByteBudget
from adaptation.decision import ExitFirst
from adaptation.explaining import describe
from adaptation.goal import Goal
from adaptation.hedging import Hedging
from adaptation.plan import Choice, Route
from adaptation.policies import DeadlinePolicy
from adaptation.policies.rescue import decide_again
from adaptation.probing import ProbeSettings
from adaptation.snapshot import KeptFrame, LinkEstimate, Snapshot
from device.endings import Later, Outcome, answered_before, dropped, expired, nothing_to_see
from device.frames import OpenFrame, Step
from device.hedges import Hedges
from device.history import Ending
from device.means import Filter, Means
from device.plan import embedded_levels, exit_at
from device.savings import Saver
from device.snapshots import Snapshots
from device.sources import Captured
from device.tiers import TierLink
from protocol.errors import IsthmusProtocolError
from protocol.messages import Frame, Handover, Refusal, Result
from runtime.answers import Answer, answer_of
from runtime.errors import BundleError
from transport.errors import TransportError

PROBE_LOOK_S = 0.05
"""How often it is asked whether a probe is due."""
FRESH_S = 0.15
"""An estimate made for a decision serves the questions about probes for so long."""

_log = logging.getLogger(__name__)


class Agent:
    """Runs frames until the source ends or it is told to stop.

    Args:
        means: the parts.
        deadline_s: allowed from capture to answer.
        interval_s: between two captures, as far as decisions need it.
        budget: of bytes on the uplink, from now on; None leaves them unpriced.
        grace_s: how long frames in flight are waited for after a stop.
        clock: monotonic seconds; has to be the event loop's.
    """

    def __init__(
        self,
        means: Means,
        *,
        deadline_s: float,
        interval_s: float,
        grace_s: float,
        clock: Callable[[], float],
        budget: ByteBudget | None = None,
    ) -> None:
        self._means = means
        self._endings = means.endings
        self._deadline_s = deadline_s
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._clock = clock
        self._links: dict[Route, TierLink] = {}
        self._budget = budget
        self._rescues: set[asyncio.Task[None]] = set()
        self._hedges: Hedges | None = None
        self._snapshots = Snapshots(means.planner.plan, means.estimator, interval_s, clock, budget)

    def use(self, links: Sequence[TierLink]) -> None:
        """The tiers to send to; their ends have to come back through `on_end`."""
        means = self._means
        self._links = {route: link for link in links for route in link.routes}
        for link in links:
            link.pace = ProbeSettings.for_plan(means.planner.plan(), self._budget)
        if links and isinstance(means.policy, DeadlinePolicy) and means.policy.hedging is not None:
            self._hedges = Hedges(
                means.policy, means.compute, means.planner.plan, means.estimator, means.endings.open_frames,
                self._links, embedded_levels(means.manifest), self._interval_s, self._clock, self._answered_alone,
            )  # fmt: skip
        self._snapshots.use(self._links, self._hedges)

    async def run(self, stop: asyncio.Event) -> None:
        """Capture until the source ends or `stop` is set, then let the open frames end.

        Raises:
            HistoryError: an end could not be written.
        """
        capturing = asyncio.create_task(self._capture(), name="capture")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        working = [asyncio.create_task(self._take_up(), name="take up")]
        if self._links:
            working.append(asyncio.create_task(self._probe(), name="probe"))
        if self._hedges is not None:
            working.append(asyncio.create_task(self._hedges.run(), name="hedge"))
        try:
            await self._first_of(capturing, stopping, *working)
            if stop.is_set():
                capturing.cancel()
            await self._settle(stopping, *working)
        finally:
            everything = [capturing, stopping, *working, *self._rescues]
            for task in everything:
                task.cancel()
            await asyncio.wait(everything)
            self._endings.end_all(dropped("agent stopped"))
        if self._endings.fault.done():
            self._endings.fault.result()

    async def _settle(self, stopping: asyncio.Task[bool], *working: asyncio.Task[None]) -> None:
        """Wait until all frames have ended: as long as it takes, but once stopped no longer than the grace."""
        ended = asyncio.create_task(self._endings.all(), name="all ended")
        try:
            await self._first_of(ended, stopping, *working)
            if not ended.done():
                async with asyncio.timeout(self._grace_s):
                    await self._first_of(ended, *working)
        except TimeoutError:
            _log.warning("stopped with %d frames in flight", len(self._endings))
        finally:
            ended.cancel()

    async def _first_of(self, *tasks: asyncio.Future[Any]) -> None:
        """Wait for one of these to end; an error of any, or the fault of an ending, is raised here."""
        done, _ = await asyncio.wait({*tasks, self._endings.fault}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    # Capture.

    async def _capture(self) -> None:
        async for captured in self._means.source.frames():
            self._admit(captured)

    def _admit(self, captured: Captured) -> None:
        """A frame begins; whatever has to make room for it ends."""
        frame = self.begin(captured, self._deadline_s)
        known = self._means.known(frame.scene) if frame.scene and not frame.ended else None
        if known is not None:
            self._endings.end(frame, answered_before(known))
        if frame.ended:
            return
        pushed_out = self._means.room.offer(frame)
        if pushed_out is not None:
            other, reason = pushed_out
            self._endings.end(other, dropped(reason, Later.PERHAPS if other is frame else Later.UNWANTED))

    def begin(self, captured: Captured, allowed_s: float, *, late: bool = False) -> OpenFrame:
        """Open a frame that has so long until its deadline; one that cannot be read has ended already."""
        content, number, now_s = captured.content, next(self._means.ids), self._clock()
        image: NDArray[Any] = np.empty((1, 0)) if isinstance(content, str) else content[np.newaxis]
        frame = OpenFrame(
            id=number,
            name=captured.name,
            image=image,
            captured_s=captured.captured_s,
            deadline_s=captured.captured_s + allowed_s,
            activation=image,
            key=captured.key or f"{self._means.run_name}-{number}",
            captured_at=time.time() - (now_s - captured.captured_s),
            kept=captured.kept,
            scene=captured.scene,
            importance=captured.importance,
            late=late,
            span=self._means.tracer.begin("device frame", b"", captured.captured_s),
        )
        self._endings.begin(frame)
        if isinstance(content, str):
            self._endings.end(frame, dropped(content, Later.NEVER))
        else:
            left_s = max(0.0, frame.deadline_s - now_s)
            frame.timer = asyncio.get_running_loop().call_later(left_s, self._at_deadline, frame)
        return frame

    # Compute.

    async def _take_up(self) -> None:
        """Give the processor to the frames that wait, one after the other."""
        while True:
            await self._means.room.arrival()
            async with self._means.compute.turn():
                frame = self._means.room.take()
                if frame is not None:
                    await self._decide(frame)
            if self._hedges is not None:
                self._hedges.look_again()

    async def _decide(self, frame: OpenFrame) -> None:
        """Choose what to do with a frame, at the last moment before its head starts, and do it."""
        if self._clock() >= frame.deadline_s:  # an agent that is behind has to catch up: nothing is worked out for it
            self._endings.end(frame, dropped("the deadline has passed"))
            return
        snapshot = self._snapshots.take(frame)
        decision = self._means.policy.decide(snapshot)
        while decision.first is not None and self._hedges is not None:
            await self._hedges.go_on(decision.first)
            newer = self._means.room.instead_of(frame)
            if newer is not frame:
                self._endings.end(frame, dropped("a newer frame replaced it", Later.UNWANTED))
                frame = newer
            if frame.ended:
                return
            snapshot = self._snapshots.take(frame)
            decision = self._means.policy.decide(snapshot)
        if self._endings.explains:
            goal, hedging = self._valued_by()
            frame.explain = partial(describe, snapshot, decision, goal, hedging)
        self._snapshots.decided(decision, snapshot.now_s)
        if decision.choice is None:
            self._endings.end(frame, dropped(decision.reason))
            return
        filter_ = self._means.filter
        if filter_ is not None and filter_.concerns(frame, decision.choice) and not await self._sees(frame, filter_):
            return
        if decision.exit_first is None or not await self._exits(frame, decision.exit_first):
            await self._carry_out(frame, decision.choice, snapshot)

    async def _sees(self, frame: OpenFrame, filter_: Filter) -> bool:
        """Ask the filter; False if the frame has ended, because there is nothing to see or it cannot be computed."""
        frame.step = Step.COMPUTING
        try:
            score, seconds = await self._means.compute.score(frame, filter_.neural)
        except BundleError as exc:
            self._endings.end(frame, dropped(str(exc), Later.NEVER))
            return False
        self._means.savings.look(Saver.FILTER, seconds)
        if filter_.neural.sees(score):
            return True
        self._endings.end(frame, nothing_to_see())
        return False

    async def _exits(self, frame: OpenFrame, exit_first: ExitFirst) -> bool:
        """Ask an exit on the way; whether the frame has ended with its answer, or cannot be computed at all."""
        frame.choice, frame.step = Choice(exit_first.cut, None, Route.DEVICE), Step.COMPUTING
        before_s = frame.device_s - frame.head_s
        try:
            answer = self._answer(await self._means.compute.answer(frame, exit_first.cut))
        except BundleError as exc:
            self._endings.end(frame, dropped(str(exc), Later.NEVER))
            return True
        taken = answer is not None and answer.confidence >= exit_first.confidence
        self._means.savings.look(Saver.EXIT, 0.0 if taken else frame.device_s - frame.head_s - before_s)
        frame.exit_confidence = 0.0 if answer is None else answer.confidence
        if answer is None or not taken:
            return False
        self._snapshots.note(frame, answered=True, confidence=answer.confidence)
        self._endings.end(frame, Outcome(ended=Ending.ANSWERED, by=Route.DEVICE, exit=True, answer=answer))
        return True

    def _valued_by(self) -> tuple[Goal, Hedging | None]:
        """By what predictions are told: the policy's own measure, or the usual one."""
        policy = self._means.policy
        return (policy.goal, policy.hedging) if isinstance(policy, DeadlinePolicy) else (Goal(), None)

    async def _carry_out(self, frame: OpenFrame, choice: Choice, snapshot: Snapshot) -> None:
        """Compute what the choice asks of the device, in its turn; then answer or send."""
        frame.choice, frame.step = choice, Step.COMPUTING
        option = snapshot.plan.find(choice)
        if option is not None:
            self._means.compute.expect(max(0.0, option.device_s - frame.head_s))
        try:
            if choice.remote and not frame.late and not frame.failed:
                frame.choice = choice = await self._on_sending(frame, choice)
            if choice.level is None:
                outcome = self._own(choice, await self._means.compute.answer(frame, choice.cut))
                confidence = outcome.answer.confidence if outcome.answer else None
                self._snapshots.note(frame, answered=True, confidence=confidence)
                self._endings.end(frame, outcome)
            else:
                await self._means.compute.encode(frame, choice.cut, choice.level)
                self._means.planner.encoded(choice.cut, choice.level, len(frame.payload))
                self._send(frame, choice)
        except BundleError as exc:
            self._endings.end(frame, dropped(str(exc), Later.NEVER))

    async def _on_sending(self, frame: OpenFrame, choice: Choice) -> Choice:
        """Bring a frame to its cut, and let the policy think again about it if it does that.

        Raises:
            BundleError: as for `Compute.encode`.
        """
        policy = self._means.policy
        if not isinstance(policy, DeadlinePolicy) or not policy.thinks_again or frame.exit_confidence is not None:
            return choice
        await self._means.compute.reach(frame, choice.cut)
        return policy.on_sending(self._snapshots.take(frame), choice)

    # Frames that may be late.

    @property
    def idle(self) -> bool:
        """Whether no frame waits for the device and none is being computed."""
        return not self._means.room and not self._means.compute.busy

    @property
    def filters(self) -> bool:
        """Whether a learned filter is asked."""
        return self._means.filter is not None

    @property
    def believed(self) -> LinkEstimate | None:
        """The last estimate of the uplink; None before the first."""
        return self._snapshots.believed

    def overdue_s(self) -> float:
        """How far past its deadline the oldest frame is that is still open; 0 where none is."""
        now_s = self._clock()
        return max((now_s - frame.deadline_s for frame in self._endings.open_frames()), default=0.0)

    def reachable(self) -> frozenset[Route]:
        """The routes by which a frame could be sent now."""
        return frozenset(route for route, link in self._links.items() if link.state(route).reachable)

    async def answer_late(self, frame: OpenFrame, choice: Choice) -> None:
        """Carry out a choice for a frame that `begin` opened; returns when it has been computed or sent."""
        async with self._means.compute.turn():
            if not frame.ended:
                await self._carry_out(frame, choice, self._snapshots.take(frame))

    # Network.

    def _send(self, frame: OpenFrame, choice: Choice) -> None:
        """Send the payload that the frame holds, unless it is too late or the tier has just gone."""
        if frame.ended:
            return
        now_s = self._clock()
        if now_s >= frame.deadline_s:
            self._endings.end(frame, expired("the device had its features ready only after the deadline"))
            return
        frame.choice, frame.step = choice, Step.SENT
        try:
            frame.message_bytes += self._links[choice.route].send(self._message(frame, choice, now_s), choice.route)
            frame.sent_s = now_s
        except (TransportError, IsthmusProtocolError) as exc:
            self._rescue(frame, f"not sent: {exc}")

    def _message(self, frame: OpenFrame, choice: Choice, now_s: float) -> Frame:
        assert choice.level is not None
        handover = choice.handover or (choice.cut, choice.level)
        payload = frame.payload
        if self._links[choice.route].loses:
            payload = self._means.compute.in_packets(frame, choice.cut, choice.level)
        return Frame.build(
            id=frame.id,
            bundle=self._means.bundle_tag,
            cut=choice.cut,
            level=choice.level,
            shape=self._means.manifest.cuts[choice.cut].tensor.shape,
            payload=payload,
            captured_us=int(1e6 * (time.time() - (now_s - frame.captured_s))),
            remaining_us=int(1e6 * (frame.deadline_s - now_s)),
            handover=Handover(*handover) if choice.route is Route.EDGE_TO_CLOUD else None,
            trace=frame.span.trace,
        )

    async def _probe(self) -> None:
        """Ask at short intervals whether a tier should be probed."""
        links = set(self._links.values())
        while True:
            await asyncio.sleep(PROBE_LOOK_S)
            uplink = self._snapshots.estimate(fresh_s=FRESH_S)
            for link in links:
                link.probe(uplink)

    def on_end(self, frame_id: int, route: Route, end: Result | Refusal | str) -> None:
        """A tier answered or refused a frame, or its stream broke; see `TierLink`."""
        frame = self._endings.find(frame_id)
        self._snapshots.ended_late(frame_id, end)
        if frame is None or frame.step is not Step.SENT or frame.choice is None or frame.choice.route is not route:
            return
        match end:
            case Result():
                self._answered(frame, frame.choice, end)
            case Refusal() | str() if frame.hedged or not frame.awaited:
                self._leave_to_the_hedge(frame)
            case Refusal(code=code, detail=detail):
                self._rescue(frame, f"the {route} refused it ({code.name.lower()}): {detail}")
            case str():
                self._rescue(frame, f"the stream to the {self._links[route].tier} broke: {end}")

    def _answered(self, frame: OpenFrame, choice: Choice, result: Result) -> None:
        timings, tier_s = result.timings, 1e-6 * result.timings.total_us
        if frame.front_of is None:  # a front takes the tier longer than a whole payload
            self._means.figures.learn_tier(choice, 1e-6 * max(0, timings.total_us - timings.queue_us))
        try:
            answer = self._answer(result.outputs[0].array()) if result.outputs else None
        except ValueError as exc:
            self._rescue(frame, f"the {choice.route} sent an answer that is none: {exc}")
            return
        by = Route.CLOUD if Route.CLOUD in (choice.route, result.answered_by) else Route.EDGE
        network_s = max(0.0, self._clock() - frame.sent_s - tier_s)
        outcome = Outcome(ended=Ending.ANSWERED, by=by, answer=answer, tier_s=tier_s, network_s=network_s)
        self._snapshots.note(frame, answered=True, tier_s=tier_s, confidence=answer.confidence if answer else None)
        self._endings.end(frame, outcome)

    def _leave_to_the_hedge(self, frame: OpenFrame) -> None:
        """Its tier will not answer, but the device is at it: an answer that was held back goes out now."""
        frame.awaited = False
        if frame.kept_answer is not None:
            self._answered_alone(frame, *frame.kept_answer)

    def _answered_alone(self, frame: OpenFrame, choice: Choice, logits: NDArray[Any]) -> None:
        """A local continuation's answer goes out; nothing more is wanted of the tier."""
        if frame.ended:
            return
        if self._hedges is not None:
            self._hedges.cancel(frame)
        self._endings.end(frame, self._own(choice, logits))

    def _own(self, choice: Choice, logits: NDArray[Any]) -> Outcome:
        """The device's answer, of an exit or of the whole model."""
        is_exit = exit_at(self._means.manifest, choice.cut) is not None
        return Outcome(ended=Ending.ANSWERED, by=Route.DEVICE, exit=is_exit, answer=self._answer(logits))

    def _answer(self, logits: NDArray[Any]) -> Answer | None:
        return answer_of(logits) if self._means.manifest.task == "classification" else None

    # What goes wrong.

    def _rescue(self, frame: OpenFrame, why: str) -> None:
        """A frame was sent in vain: try what is left for it."""
        assert frame.choice is not None
        frame.choice, frame.front_of = frame.front_of or frame.choice, None  # the payload is still here, all of it
        frame.failed.add(frame.choice.route)
        if not self._means.rescues:
            self._endings.end(frame, expired(why))
            return
        snapshot = self._snapshots.take(frame, device_free_s=self._means.compute.free_s())
        option = snapshot.plan.find(frame.choice)
        message_bytes = len(frame.payload) + (option.overhead_bytes if option else 0.0)
        kept = KeptFrame(frame.choice, message_bytes, frame.head_s, frozenset(frame.failed))
        decision = decide_again(snapshot, kept)
        if decision.choice is None:
            self._endings.end(frame, expired(f"{why}; {decision.reason}"))
        elif decision.choice.level is not None:
            self._send(frame, decision.choice)
        else:
            frame.step = Step.WAITING
            task = asyncio.create_task(self._go_on(frame, decision.choice, snapshot), name=f"frame {frame.id} goes on")
            self._rescues.add(task)
            task.add_done_callback(self._went_on)

    async def _go_on(self, frame: OpenFrame, choice: Choice, snapshot: Snapshot) -> None:
        """Answer on the device from the features that were kept."""
        async with self._means.compute.turn():
            if not frame.ended:
                await self._carry_out(frame, choice, snapshot)

    def _went_on(self, task: asyncio.Task[None]) -> None:
        self._rescues.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._endings.fail(error)

    def _at_deadline(self, frame: OpenFrame) -> None:
        """End a frame that waits at its deadline. One that the device is computing goes on: its answer is late."""
        if frame.step is Step.WAITING:
            self._means.room.remove(frame)
            self._endings.end(frame, expired("the device was busy until the deadline"))
        elif frame.step is Step.SENT and frame.choice is not None:
            route = frame.choice.route
            if frame.awaited:
                self._links[route].give_up(frame.id)
            self._snapshots.gave_up(frame)
            silent_s = self._clock() - frame.sent_s
            self._endings.end(frame, expired(f"no answer from {route} in time: silent for {silent_s:.2f} s"))
