"""A device in simulated time: discrete events over the estimator, the policy and the queue rules of the agent.

The rules are the agent's: the latest frame waits alone, the device does one thing at a time and decides when it takes a
frame up, an answer counts until the deadline, silence goes to the estimator, hedges begin when they cannot wait. What
is left out, and how much it matters, is in docs/adaptation.md.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

from adaptation.budget import ByteBudget
from adaptation.decision import ExitFirst, Hedge
from adaptation.goal import Allowance
from adaptation.hedging import chance_in_time, due_hedge, front_to_send, wake_s
from adaptation.hints import WaitHints
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Option, Route
from adaptation.policies import DeadlinePolicy, Policy
from adaptation.probing import ECHO_BYTES, ProbeSettings, ProbeState, probe_due, probe_parts
from adaptation.snapshot import InFlight, LinkEstimate, Past, Snapshot, TierState
from testbed.simulation.cell import Cell
from testbed.simulation.conditions import KEEPS_ALL, Conditions, Frame, Run
from testbed.simulation.speed import Speed
from testbed.simulation.supply import NEVER_S
from testbed.simulation.uplink import Queued, Uplink

LOOK_S = 0.05
"""How often it is asked whether a probe is due, as in the agent."""
FRESH_S = 0.15
"""An estimate made for a decision serves the questions about probes for so long."""
TIE_S = 1e-9
"""An answer this close to its deadline is in time: sums of decimal fractions are no exact clock."""
RECENT = 64
"""Ended frames that policies may learn from."""


class Simulation:
    """Plays one run.

    Args:
        conditions: what it is played under.
        policy: decides.
        observe: called with each snapshot and the decision on it, for explanations and tests.
        learns: whether an estimator is kept; a policy that never looks can do without.
        cell: its link, where other devices share that; None has a link to itself.
    """

    def __init__(
        self,
        conditions: Conditions,
        policy: Policy,
        *,
        observe: Callable[[int, Snapshot, Any], None] | None = None,
        learns: bool = True,
        cell: Cell | None = None,
    ) -> None:
        self._given = conditions
        self._policy = policy
        self._hedger = policy if isinstance(policy, DeadlinePolicy) and policy.hedging is not None else None
        self._hedging = None if self._hedger is None else self._hedger.hedging
        self._again: DeadlinePolicy | None = None
        if isinstance(policy, DeadlinePolicy) and policy.thinks_again and conditions.think_again:
            self._again = policy
        self._observe = observe
        self._learns = learns
        self._cell = cell or Cell(conditions.supply, conditions.downlink)
        self._at = self._cell.at
        self._uplink = Uplink(self._cell.line, conditions.held_back_bytes, self._await)
        self._downlink = None if self._cell.down is None else Uplink(self._cell.down, KEEPS_ALL)
        self.estimator = UplinkEstimator()
        count = round(conditions.seconds / conditions.interval_s)
        weigh = conditions.importance or (lambda index: 1.0)
        captured_s = [round(conditions.first_s + k * conditions.interval_s, 9) for k in range(count)]
        self.run_ = Run([Frame(at_s, weigh(k)) for k, at_s in enumerate(captured_s)])
        self._random = random.Random(conditions.seed)
        self._waiting: int | None = None
        self._busy = False
        self._previous: Choice | None = None
        self._changed_s = 0.0
        self._flights: dict[int, InFlight] = {}
        self._sent_s: dict[Hashable, float] = {}
        self._hedged: set[int] = set()
        self._recent: deque[Past] = deque(maxlen=RECENT)
        self._believed: LinkEstimate | None = None
        self._believed_s = -1.0
        self._probes = ProbeState(0.0)
        self._wake_s = NEVER_S
        self._speed = Speed(conditions.plan, conditions.believed)
        self._trials = None if conditions.trials is None else conditions.trials()
        self._remote = [route for route in conditions.plan.columns.routes if route is not Route.DEVICE]
        self._nearest = self._remote[0] if self._remote else Route.DEVICE
        self._hints = WaitHints()
        self._sure: dict[int, float] = {}
        self._asked: dict[int, float] = {}
        self._answers = 0
        self._pace = conditions.probes or ProbeSettings.for_plan(conditions.plan, conditions.budget)

    def go(self) -> Run:
        """Play to the end of all events."""
        self.begin()
        self._cell.play()
        return self.run_

    def begin(self) -> None:
        """Be ready for the first frame; what comes of the run is in `run_` when its cell has been played."""
        self._at(self.run_.frames[0].captured_s, self._capture, 0)
        if self._learns and self._given.probing and self._nearest is not Route.DEVICE:
            self._at(LOOK_S, self._look, None)

    # Frames come and wait.

    def _capture(self, now_s: float, index: int) -> None:
        self._waiting = index
        if index + 1 < len(self.run_.frames):
            self._at(self.run_.frames[index + 1].captured_s, self._capture, index + 1)
        self._at(now_s + self._given.deadline_s + 2.0 * TIE_S, self._expire, index)
        if not self._busy:
            self._idle(now_s)

    def _idle(self, now_s: float) -> None:
        """The device has nothing to do: the frame that waits, or a hedge that cannot wait."""
        while self._waiting is not None and not self._busy:
            self._take_up(now_s, self._waiting)
        if self._busy or self._hedging is None or not self._flights:
            return
        flights = tuple(self._flights.values())
        plan = self._speed.plan
        soon_s = wake_s(plan, flights, self._hedging, now_s - 1e-6)
        if soon_s is not None and soon_s > now_s + 1e-6:
            self._wake_at(soon_s)
            return
        if soon_s is None:
            return
        hedge = due_hedge(
            self._estimate(now_s), plan, flights, self._hedging,
            now_s=now_s, until_s=now_s + 1e-6, interval_s=self._given.interval_s,
        )  # fmt: skip
        if hedge is not None:
            self._start_hedge(now_s, hedge)
            return
        later_s = wake_s(plan, flights, self._hedging, now_s + 1e-6)
        if later_s is not None:
            self._wake_at(later_s)

    def _wake_at(self, moment_s: float) -> None:
        self._wake_s = moment_s
        self._at(moment_s, self._wake, None)

    def _wake(self, now_s: float, about: None) -> None:
        if not self._busy and self._wake_s == now_s:
            self._idle(now_s)

    def _take_up(self, now_s: float, index: int) -> None:
        frame = self.run_.frames[index]
        snapshot = self._snapshot(now_s, frame)
        decision = self._policy.decide(snapshot)
        if self._observe is not None:
            self._observe(index, snapshot, decision)
        if decision.first is not None:
            self._start_hedge(now_s, decision.first)
            return
        self._waiting = None
        frame.choice = decision.choice
        if self._trials is not None:
            self._trials.decided(decision.choice, decision.lost, now_s)
        if decision.choice is None:
            return
        if decision.choice != self._previous:
            self._previous, self._changed_s = decision.choice, now_s
        device_s = self._find(decision.choice).device_s
        if decision.exit_first is not None:
            frame.choice, device_s = self._exits(index, decision.choice, decision.exit_first)
        slowdown = self._given.slowdown(now_s) * self._given.varied(device_s)
        begins_s = now_s + self._given.own_s
        self._busy = True
        if self._again is not None and decision.choice.remote and index not in self._asked:
            frame.device_s = self._find(decision.choice).reached_s * slowdown
            self._at(begins_s + frame.device_s, self._reached, (index, slowdown))
            return
        frame.device_s = device_s * slowdown
        self._at(begins_s + frame.device_s, self._computed, (index, slowdown))

    def _reached(self, now_s: float, about: tuple[int, float]) -> None:
        """The features are there: send them as was decided, or think again."""
        index, slowdown = about
        frame = self.run_.frames[index]
        assert self._again is not None
        assert frame.choice is not None
        cut = frame.choice.cut
        if now_s < frame.captured_s + self._given.deadline_s:
            frame.choice = self._again.on_sending(self._snapshot(now_s, frame), frame.choice)
        option = self._given.plan.rest(cut).find(frame.choice)
        assert option is not None
        frame.device_s += option.device_s * slowdown
        self._at(now_s + option.device_s * slowdown, self._computed, (index, slowdown))

    def _exits(self, index: int, choice: Choice, exit_first: ExitFirst) -> tuple[Choice, float]:
        """What becomes of a frame that asks an exit first, and the device's seconds for it."""
        own = self._find(Choice(exit_first.cut, None, Route.DEVICE))
        confidence = 0.0 if self._given.confidence is None else self._given.confidence(index)
        self._asked[index] = confidence
        if confidence >= exit_first.confidence:
            self._sure[index] = confidence
            return own.choice, own.device_s
        heads = [one.reached_s for one in self._given.plan if one.choice.remote and one.choice.cut == exit_first.cut]
        classifier_s = max(own.device_s - min(heads, default=own.device_s), 0.0)
        return choice, self._find(choice).device_s + classifier_s

    def _find(self, choice: Choice) -> Option:
        option = self._given.plan.find(choice)
        assert option is not None
        return option

    def _bytes(self, index: int, option: Option) -> float:
        """What a frame's message comes to."""
        return option.message_bytes if self._given.sizes is None else self._given.sizes(index, option)

    def _snapshot(self, now_s: float, frame: Frame) -> Snapshot:
        uplink = self._estimate(now_s) if self._learns else None
        if self._drop_useless(now_s):
            uplink = self._estimate(now_s)
        return Snapshot(
            now_s,
            frame.captured_s + self._given.deadline_s,
            now_s,
            self._speed.plan,
            uplink,
            self._tiers(now_s),
            self._previous,
            frame.captured_s,
            self._given.interval_s,
            tuple(self._flights.values()) if self._hedging is not None else (),
            tuple(self._recent),
            self._changed_s,
            frame.importance,
            None if self._given.budget is None else self._allowance(now_s, self._given.budget),
            None if self._trials is None else self._trials.now(self._speed.plan, now_s),
        )

    def _allowance(self, now_s: float, budget: ByteBudget) -> Allowance:
        return budget.allowance(self.run_.sent_bytes, now_s, self._given.interval_s)

    def _tiers(self, now_s: float) -> Mapping[Route, TierState]:
        """What is known of the tiers, with the wait that the nearest one hints at."""
        tiers = self._given.tiers(now_s)
        if self._given.hint is None or self._nearest not in tiers:
            return tiers
        hinted = replace(tiers[self._nearest], wait_s=self._hints.wait_s(now_s))
        return {**tiers, self._nearest: hinted}

    def _estimate(self, now_s: float) -> LinkEstimate:
        self._believed, self._believed_s = self.estimator.estimate(now_s), now_s
        return self._believed

    # The device computes.

    def _computed(self, now_s: float, about: tuple[int, float]) -> None:
        index, slowdown = about
        frame = self.run_.frames[index]
        if frame.device_s > 0.0 and frame.choice is not None:
            self._speed.took(frame.choice, frame.device_s, slowdown)
        self._busy = False
        if frame.choice is not None and not frame.choice.remote:
            self._deliver(now_s, index, frame.choice)
            self._past(frame, frame.choice, 0.0, now_s, now_s, answered=True)
        elif frame.choice is not None and now_s < frame.captured_s + self._given.deadline_s:
            option = self._given.plan.find(frame.choice)
            assert option is not None
            deadline_s = frame.captured_s + self._given.deadline_s
            planned = self._speed.plan.find(frame.choice)
            assert planned is not None
            head_s = planned.reached_s
            self._flights[index] = InFlight(
                index, frame.choice, frame.captured_s, deadline_s, head_s, importance=frame.importance
            )
            size = self._bytes(index, option)
            self._send(now_s, index, size, option.tier_s, frame.choice.route, answer_bytes=option.result_bytes)
        self._idle(now_s)

    def _start_hedge(self, now_s: float, hedge: Hedge) -> None:
        assert isinstance(hedge.key, int)
        index = hedge.key
        self._flights.pop(index)
        self._hedged.add(index)
        frame = self.run_.frames[index]
        own, sent = self._find(hedge.choice), frame.choice
        assert sent is not None
        frame.hedge_s = own.after_s(sent.cut, self._find(sent).reached_s) * self._given.slowdown(now_s)
        self._busy = True
        assert self._hedging is not None
        if hedge.chance < self._hedging.useless:
            self._cancel(now_s, index)
        self._at(now_s + frame.hedge_s, self._continued, (index, hedge))

    def _continued(self, now_s: float, about: tuple[int, Hedge]) -> None:
        """A local continuation is done: hand it out at the last moment, unless the remote answer comes before that."""
        index = about[0]
        self._busy = False
        frame = self.run_.frames[index]
        last_s = frame.captured_s + self._given.deadline_s
        if frame.delivered == 0 and now_s <= last_s:
            self._hand_out(now_s, about)
        self._idle(now_s)

    def _hand_out(self, now_s: float, about: tuple[int, Hedge]) -> None:
        index, hedge = about
        frame = self.run_.frames[index]
        assert self._hedger is not None
        assert self._hedging is not None
        assert frame.choice is not None
        plan = self._given.plan
        own, remote = plan.find(hedge.choice), plan.find(frame.choice)
        if index in self._sent_s and own is not None and remote is not None:
            deadline_s = frame.captured_s + self._given.deadline_s
            flight = InFlight(index, frame.choice, frame.captured_s, deadline_s, remote.reached_s)
            believed = self._estimate(now_s)
            chance = chance_in_time(believed, flight, believed.beyond_s(remote), now_s)
            last_s = deadline_s - 0.5 * self._hedging.guard_s
            if last_s > now_s and self._hedger.waits(chance, remote, own, last_s - now_s, self._given.deadline_s):
                self._at(last_s, self._release, about)
                return
        self._release(now_s, about)

    def _release(self, now_s: float, about: tuple[int, Hedge]) -> None:
        index, hedge = about
        if self.run_.frames[index].delivered == 0:
            self._deliver(now_s, index, hedge.choice)
            self._cancel(now_s, index)

    # The network.

    def _send(
        self,
        now_s: float,
        key: Hashable,
        size: float,
        tier_s: float,
        route: Route,
        told: float | None = None,
        answer_bytes: float = ECHO_BYTES,
    ) -> None:
        """Put a message on the uplink; `told` is what the estimator hears of it, 0 for nothing."""
        if self._learns and told != 0.0:
            self.estimator.sent(key, told or size, now_s, route)
        self._sent_s[key] = now_s
        self.run_.sent_bytes += size
        message = self._uplink.send(key, size, now_s)
        delay_s = 2.0 * self._given.one_way_s + self._given.extra_s.get(route, 0.0) + tier_s
        if self._given.jitter_s:
            delay_s += self._random.expovariate(1.0 / self._given.jitter_s)
        message.delay_s, message.tier_s, message.route, message.answer_bytes = delay_s, tier_s, route, answer_bytes
        if self._given.hint is not None and isinstance(key, int):
            self._hints.sent(key, now_s)
        self._await(message)
        if isinstance(key, int):
            self._probes.sent(size, now_s)

    def _await(self, message: Queued) -> None:
        if message.leaves_s < NEVER_S:
            busy, answered = self._given.busy, self._given.answered
            wait_s = 0.0 if busy is None else busy(message.leaves_s + self._given.one_way_s)
            answered_s, tier_s = message.leaves_s + message.delay_s + wait_s, message.tier_s + wait_s
            if answered is not None:
                arrives_s = message.leaves_s + self._given.one_way_s
                answered_s, tier_s = answered(message.route, arrives_s, tier_s, answered_s - arrives_s - tier_s)
            if answered_s < NEVER_S and self._downlink is None:
                self._at(answered_s, self._answer, (message, message.leaves_s, tier_s))
            elif answered_s < NEVER_S:
                self._at(answered_s - self._given.one_way_s, self._come_down, (message, message.leaves_s, tier_s))

    def _come_down(self, now_s: float, about: tuple[Queued, float, float]) -> None:
        """The tier has answered: the answer queues up for its way down."""
        message, left_s, _ = about
        assert self._downlink is not None
        if message.leaves_s == left_s:
            there_s = self._downlink.send(about, message.answer_bytes, now_s).leaves_s + self._given.one_way_s
            if there_s < NEVER_S:
                self._at(there_s, self._answer, about)

    def _answer(self, now_s: float, about: tuple[Queued, float, float]) -> None:
        message, left_s, tier_s = about
        if message.leaves_s != left_s:
            return  # it was taken back, or something ahead of it was; then it has another event
        if self._given.timing is not None:
            tier_s = self._given.timing(now_s, tier_s)
        if self._given.hint is not None and isinstance(message.key, int):
            self._hints.answered(message.key, now_s)
            self._hints.hinted(self._given.hint(now_s, self._answers), now_s)
            self._answers += 1
        sent_s = self._sent_s.pop(message.key, None)
        if self._learns:
            if isinstance(message.key, tuple) and not message.key[2]:
                self.estimator.timed(message.route, now_s - message.ready_s)
            probe, stamp = isinstance(message.key, tuple), self._given.stamp
            arrived_us = 0 if probe or stamp is None else stamp(left_s + self._given.one_way_s)
            self.estimator.acknowledged(message.key, now_s, tier_s, message.answer_bytes, arrived_us)
            self._probes.unanswered = 0
        if isinstance(message.key, int):
            index = message.key
            self._flights.pop(index, None)
            frame = self.run_.frames[index]
            if frame.choice is not None:
                if sent_s is not None:
                    self._deliver(now_s, index, frame.choice)
                self._past(frame, frame.choice, message.size, message.ready_s, now_s, answered=True, tier_s=tier_s)

    def _cancel(self, now_s: float, index: int) -> None:
        """No answer is wanted any more: take back what has not left."""
        sent_s = self._sent_s.pop(index, None)
        if sent_s is None:
            return
        frame = self.run_.frames[index]
        option = self._given.plan.find(frame.choice) if frame.choice is not None else None
        assert option is not None
        size = self._bytes(index, option)
        left = self._uplink.cancel(index, now_s)
        if left < size:
            self.run_.sent_bytes -= size - left
            if self._learns:
                self.estimator.cancelled(index, now_s, left)
        elif self._learns:
            self.estimator.abandoned(index, now_s)
        self._past(frame, option.choice, size, sent_s, now_s, answered=False)

    def _drop_useless(self, now_s: float) -> bool:
        """Take back what will not be answered in time; whether there was any."""
        if self._hedging is None or self._believed is None or self._given.held_back_bytes == float("inf"):
            return False
        taken = False
        for index, flight in list(self._flights.items()):
            if not flight.awaited:
                continue
            if self._given.embedded and self._cut_short(now_s, self._believed, index, flight):
                taken = True
                continue
            late = now_s - flight.captured_s > self._given.interval_s
            if not late:
                continue
            beyond_s = self._believed.beyond_s(self._find(flight.choice))
            if chance_in_time(self._believed, flight, beyond_s, now_s) < self._hedging.useless:
                self._cancel(now_s, index)
                self._flights[index] = replace(flight, awaited=False)
                taken = True
        return taken

    def _cut_short(self, now_s: float, believed: LinkEstimate, index: int, flight: InFlight) -> bool:
        """Take back the end of an embedded payload whose front alone is worth more; whether there was any."""
        front = front_to_send(believed, self._speed.plan, flight, now_s, self._uplink.left(index, now_s))
        if front is None:
            return False
        self.run_.sent_bytes -= self._find(flight.choice).message_bytes - front.message_bytes
        frame = self.run_.frames[index]
        frame.front_of, frame.choice = frame.front_of or frame.choice, front.choice
        self._flights[index] = replace(flight, choice=front.choice)
        self.estimator.shortened(index, front.message_bytes)
        self._uplink.shorten(index, front.message_bytes, now_s)
        return True

    def _look(self, now_s: float, about: None) -> None:
        """Ask whether a probe is due, of the nearest tier that is there."""
        if now_s < self._given.seconds:
            self._at(now_s + LOOK_S, self._look, None)
        tiers = self._given.tiers(now_s)
        asked = next((route for route in self._remote if route in tiers and tiers[route].reachable), None)
        if asked is None:
            return
        if self._believed is None or now_s - self._believed_s > FRESH_S:
            self._believed = self._estimate(now_s)
        assert self._believed is not None
        if probe_due(self._believed, self._probes, now_s, self._pace):
            self._probe(now_s, probe_parts(self._believed, self._pace, self._probes.unanswered), asked)

    def _probe(self, now_s: float, parts: tuple[int, ...], route: Route) -> None:
        """The estimator hears of the whole with the last part's echo, and of the first part's round trip."""
        whole = sum(parts)
        self.run_.probe_bytes += whole
        for part, size in enumerate(parts, start=1):
            last = part == len(parts)
            told = float(whole) if last else 0.0
            self._send(now_s, ("probe", now_s, last), size, 0.0, route, told)
        self._probes.sent(whole, now_s, probe=True)

    # Frames end.

    def _deliver(self, now_s: float, index: int, choice: Choice) -> None:
        frame = self.run_.frames[index]
        if frame.delivered == 0 and now_s <= frame.captured_s + self._given.deadline_s + TIE_S:
            option = self._given.plan.find(choice)
            assert option is not None
            accuracy = self._sure.get(index, option.accuracy)
            frame.delivered, frame.done_s, frame.by, frame.accuracy = 1, now_s, choice, accuracy

    def _expire(self, now_s: float, index: int) -> None:
        if self._waiting == index:
            self._waiting = None
        self._flights.pop(index, None)
        if index in self._sent_s:
            self._cancel(now_s, index)

    def _past(
        self,
        frame: Frame,
        choice: Choice,
        size: float,
        sent_s: float,
        now_s: float,
        *,
        answered: bool,
        tier_s: float = 0.0,
    ) -> None:
        in_time = answered and now_s <= frame.captured_s + self._given.deadline_s
        index = round((frame.captured_s - self._given.first_s) / self._given.interval_s)
        alone_s = 0.0 if index in self._asked else frame.device_s
        asked = self._asked.get(index)
        self._recent.append(
            Past(choice, size, sent_s, now_s, in_time, answered, tier_s, self._sure.get(index), alone_s, asked)
        )
