"""A deterministic device and uplink in simulated time: a second, plain model of what the estimator has to learn.

Bytes leave one after the other at a rate that is a step function of time; the answer comes a round trip, the tier's
time and a seeded jitter later. The device computes one frame at a time and keeps only the newest waiting one.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaptation.goal import Goal
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Plan, Route
from adaptation.policies import Policy
from adaptation.probing import ProbeSettings, ProbeState, probe_due, probe_parts
from adaptation.snapshot import Snapshot, TierState

INTERVAL_S = 0.1
DEADLINE_S = 0.25


@dataclass(frozen=True)
class Link:
    """Rate steps (from_s, bits per second), ascending from 0; round trip; scale of the exponential jitter."""

    steps: tuple[tuple[float, float], ...]
    rtt_s: float = 0.04
    jitter_s: float = 0.003
    seed: int = 1

    def leaves_s(self, start_s: float, message_bytes: float) -> float:
        """When the last of so many bytes has left if the first may leave at `start_s`."""
        bits = message_bytes * 8.0
        for (from_s, rate), until_s in zip(self.steps, [*(s for s, _ in self.steps[1:]), 1e9], strict=True):
            begin_s = max(from_s, start_s)
            if begin_s >= until_s:
                continue
            if rate * (until_s - begin_s) >= bits:
                return begin_s + bits / rate
            bits -= rate * (until_s - begin_s)
        return 1e9


def mahimahi(path: Path, first_s: float, last_s: float, step_s: float = 0.05) -> Link:
    """Part of a Mahimahi trace (one line per 1500-byte opportunity, in ms) as rate steps."""
    counts = [0] * round((last_s - first_s) / step_s)
    for line in path.read_text().split():
        moment_s = int(line) / 1e3 - first_s
        if 0 <= moment_s < last_s - first_s:
            counts[int(moment_s / step_s)] += 1
    return Link(tuple((i * step_s, n * 1500 * 8 / step_s) for i, n in enumerate(counts)))


@dataclass
class Ended:
    """How a frame ended, and where it came from."""

    captured_s: float
    choice: Choice | None = None
    done_s: float | None = None


@dataclass
class Run:
    """All frames of one simulated run, in order of capture."""

    frames: list[Ended] = field(default_factory=list)

    def utility(self, plan: Plan, goal: Goal) -> float:
        """Mean worth of a frame: accuracy if in time, less the weighted latency."""
        return sum(self._worth(frame, plan, goal) for frame in self.frames) / len(self.frames)

    def in_time(self, frame: Ended) -> bool:
        """Whether this frame was answered before its deadline."""
        return frame.done_s is not None and frame.done_s <= frame.captured_s + DEADLINE_S

    def misses(self, first_s: float = 0.0, last_s: float = 1e9) -> int:
        """Frames captured in a span of time that had no answer in time."""
        return sum(not self.in_time(f) for f in self.frames if first_s <= f.captured_s < last_s)

    def changes(self, first_s: float = 0.0) -> int:
        """How often the choice changed from one decided frame to the next."""
        chosen = [frame.choice for frame in self.frames if frame.choice is not None and frame.captured_s >= first_s]
        return sum(before != after for before, after in itertools.pairwise(chosen))

    def _worth(self, frame: Ended, plan: Plan, goal: Goal) -> float:
        if not self.in_time(frame) or frame.choice is None or frame.done_s is None:
            return -goal.latency_weight
        option = plan.find(frame.choice)
        assert option is not None
        return option.accuracy - goal.latency_weight * (frame.done_s - frame.captured_s) / DEADLINE_S


class Simulation:
    """One run of a policy (or of given choices) over a link."""

    def __init__(
        self,
        plan: Plan,
        link: Link,
        seconds: float,
        *,
        policy: Policy | None = None,
        given: Sequence[Choice] | None = None,
        tiers: Callable[[float], dict[Route, TierState]] | None = None,
        probes: bool = True,
    ) -> None:
        self.plan, self.link, self.policy, self.given = plan, link, policy, given
        self.tiers = tiers or (lambda now_s: {Route.EDGE: TierState(True)})
        self.uplink = UplinkEstimator()
        self.pace = ProbeSettings.for_plan(plan)
        self.run = Run([Ended(round(i * INTERVAL_S, 6)) for i in range(round(seconds / INTERVAL_S))])
        self.decisions: list[tuple[float, Snapshot]] = []
        self._random = random.Random(link.seed)
        self._events: list[tuple[float, int, str, object]] = []
        self._count = 0
        self._free_s = 0.0
        self._queue_free_s = 0.0
        self._waiting: int | None = None
        self._busy = False
        self._previous: Choice | None = None
        self._probes = ProbeState(0.0)
        for index, frame in enumerate(self.run.frames):
            self._at(frame.captured_s, "capture", index)
            self._at(frame.captured_s + DEADLINE_S, "expire", index)
        if probes and policy is not None:
            for tick in range(round(seconds / 0.05)):
                self._at(tick * 0.05, "tick", tick)

    def go(self) -> Run:
        """Run to the end of all events."""
        while self._events:
            now_s, _, what, about = heapq.heappop(self._events)
            getattr(self, f"_{what}")(now_s, about)
        return self.run

    def _at(self, moment_s: float, what: str, about: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment_s, self._count, what, about))

    def _capture(self, now_s: float, index: int) -> None:
        self._waiting = index
        if not self._busy:
            self._start(now_s)

    def _start(self, now_s: float) -> None:
        index, self._waiting = self._waiting, None
        if index is None:
            return
        frame = self.run.frames[index]
        frame.choice = self._choose(now_s, index, frame)
        if frame.choice is None:
            return
        self._previous = frame.choice
        option = self.plan.find(frame.choice)
        assert option is not None
        self._busy = True
        self._at(now_s + option.device_s, "computed", index)

    def _choose(self, now_s: float, index: int, frame: Ended) -> Choice | None:
        if self.policy is None:
            assert self.given is not None
            return self.given[index % len(self.given)]
        snapshot = Snapshot(
            now_s,
            frame.captured_s + DEADLINE_S,
            now_s,
            self.plan,
            self.uplink.estimate(now_s),
            self.tiers(now_s),
            self._previous,
            frame.captured_s,
            INTERVAL_S,
        )
        self.decisions.append((now_s, snapshot))
        return self.policy.decide(snapshot).choice

    def _computed(self, now_s: float, index: int) -> None:
        frame = self.run.frames[index]
        assert frame.choice is not None
        if frame.choice.remote:
            option = self.plan.find(frame.choice)
            assert option is not None
            self._send(now_s, index, option.message_bytes, option.tier_s)
        else:
            frame.done_s = now_s
        self._busy = False
        self._start(now_s)

    def _send(self, now_s: float, key: object, message_bytes: float, tier_s: float) -> None:
        self.uplink.sent(key, message_bytes, now_s, Route.EDGE)
        self._queue_free_s = self.link.leaves_s(max(now_s, self._queue_free_s), message_bytes)
        self._probes.sent(message_bytes, now_s, probe=not isinstance(key, int))
        delay_s = self.link.rtt_s + tier_s + self._random.expovariate(1.0 / self.link.jitter_s)
        if self._queue_free_s < 1e8:
            self._at(self._queue_free_s + delay_s, "answer", (key, tier_s))

    def _answer(self, now_s: float, about: tuple[object, float]) -> None:
        key, tier_s = about
        self._probes.unanswered = 0
        self.uplink.acknowledged(key, now_s, tier_s)
        if isinstance(key, int):
            self.run.frames[key].done_s = now_s

    def _expire(self, now_s: float, index: int) -> None:
        if self.run.frames[index].done_s is None:
            self.uplink.abandoned(index, now_s)

    def _tick(self, now_s: float, tick: int) -> None:
        believed = self.uplink.estimate(now_s)
        if probe_due(believed, self._probes, now_s, self.pace):
            size = sum(probe_parts(believed, self.pace, self._probes.unanswered))
            self._send(now_s, ("probe", tick), size, 0.0)
