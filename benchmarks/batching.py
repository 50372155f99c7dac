"""The scheduler in simulated time: against the best static pair of size and delay, and against batches by cut only.

Simulated, with costs as below and known exactly, so that the figures are the scheduler's own and the same on every
machine; but for the last ones, of one client and real threads.
What engines really cost by batch size is in `/batching` of a running tier.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import single_client
from benchmarks.figure import Figure
from serving.scheduling.batching import Least, Rule, Static
from serving.scheduling.jobs import Path
from serving.scheduling.replay import Arrival, Outcome, Replay, TrueCost
from serving.scheduling.scheduler import Scheduler

SECONDS = 2.0
LONG_S = 16.0
"""Where frames come in bursts: so that a p99 is that of more than one of them."""
PATIENCE_S = 0.05
SIZES = (1, 2, 4, 8, 16, 32, 64)
DELAYS_S = (0.0, 0.002, 0.01)
DEVICES = 64
SEGMENTS = 4
CUTS_APART = 8
"""Of the model that devices enter everywhere."""

WHOLE, *_ = CUTS = [Path(*(f"segment {segment}" for segment in range(cut, SEGMENTS))) for cut in range(SEGMENTS)]


def shared(_step: object, size: int) -> float:
    """A frame at batch 8 costs 0.3 of one alone."""
    return 0.0008 + 0.0002 * size


def dense(_step: object, size: int) -> float:
    """Weights dominate, as in fully connected layers: a frame at batch 8 costs 0.21 of one alone."""
    return 0.00045 + 0.00005 * size


def unshared(_step: object, size: int) -> float:
    """Batching gains nothing, as with MobileNetV2 on one core."""
    return 0.00002 + 0.001 * size


@dataclass(frozen=True)
class Pattern:
    """How frames come: a rate over time, from which cuts, in groups of how many."""

    rate: Callable[[float], float]
    cuts: Sequence[Path] = (WHOLE,)
    group: int = 1
    even: bool = False
    cost: TrueCost = shared
    seconds: float = SECONDS


PATTERNS = {
    "steady, light": Pattern(lambda at_s: 150, even=True),
    "steady, heavy": Pattern(lambda at_s: 700, even=True),
    "Poisson, light": Pattern(lambda at_s: 150),
    "Poisson, middling": Pattern(lambda at_s: 400),
    "Poisson, heavy": Pattern(lambda at_s: 800),
    "Poisson, too much": Pattern(lambda at_s: 1500),
    "bursts of 10": Pattern(lambda at_s: 500, group=10, seconds=LONG_S),
    "bursts of 40": Pattern(lambda at_s: 500, group=40, seconds=LONG_S),
    "on and off": Pattern(lambda at_s: 1000 if at_s % 0.4 < 0.2 else 50),
    "diurnal": Pattern(lambda at_s: 500 + 450 * math.sin(2 * math.pi * at_s / SECONDS)),
    "mixed cuts": Pattern(lambda at_s: 900, cuts=CUTS),
    "mixed cuts, nothing shared": Pattern(lambda at_s: 300, cuts=CUTS, cost=unshared),
}


def figures() -> Sequence[Figure]:
    """Goodput and p99 of each pattern, cross-cut goodput, and what one client feels."""
    found = []
    for name, pattern in PATTERNS.items():
        best, best_p99_s = _best_static(pattern)
        answered, p99_s = _told(_run(pattern, Least()))
        found += [
            Figure(f"{name}: goodput", answered / best, "times", 0.95, "at least", "best static pair"),
            Figure(f"{name}: p99", p99_s / best_p99_s, "times", 1.05, "at most", "that pair's"),
        ]
    for name, cost, loads, target in (
        ("frames share much", dense, (800, 1200, 2000, 3000), 1.5),
        ("frames share something", shared, (400, 700, 1000), None),
        ("frames share nothing", unshared, (200, 300), 0.97),
    ):
        together, apart = (_peaks(cost, loads, by_cut=by_cut) for by_cut in (False, True))
        for figure, ours, theirs in zip(
            ("peak goodput", "the same, all cuts served alike"), together, apart, strict=True
        ):
            found.append(
                Figure(
                    f"{DEVICES} devices at {CUTS_APART} cuts, {name}: {figure}", ours / theirs, "times", target,
                    "at least", "batches by cut only",
                )
            )  # fmt: skip
    alone = _one_client(Static(1, 0.0))
    found.append(Figure("one client: p99", _one_client(Least()) / alone, "times", 1.1, "at most", "no batching"))
    return [*found, *single_client.figures()]


def _arrivals(pattern: Pattern) -> Iterator[Arrival]:
    generator, at_s, count = random.Random(7), 0.0, 0
    while at_s < pattern.seconds:
        gap_s = pattern.group / pattern.rate(at_s)
        at_s += gap_s if pattern.even else generator.expovariate(1 / gap_s)
        for _ in range(pattern.group):
            count += 1
            yield Arrival(at_s, f"device {count % 16}", generator.choice(pattern.cuts), PATIENCE_S)


def _run(pattern: Pattern, rule: Rule) -> Sequence[Outcome]:
    scheduler = _knowing(Scheduler(rule=rule), pattern.cuts, pattern.cost)
    return Replay(scheduler, pattern.cost).run(_arrivals(pattern))


def _knowing(scheduler: Scheduler, paths: Sequence[Path], cost: TrueCost) -> Scheduler:
    for step in {step: None for path in paths for step in path.steps}:
        for size in SIZES:
            scheduler.costs.learn(step, size, cost(step, size))
    return scheduler


def _told(outcomes: Sequence[Outcome]) -> tuple[int, float]:
    """Frames answered in time, and their p99."""
    latencies = sorted(outcome.latency_s for outcome in outcomes if outcome.in_time)
    return len(latencies), latencies[int(0.99 * len(latencies))]


def _best_static(pattern: Pattern) -> tuple[int, float]:
    """Of the pairs that answer about as many as the best does: the lowest p99."""
    told = [_told(_run(pattern, Static(size, delay_s))) for size in SIZES for delay_s in DELAYS_S]
    most = max(answered for answered, _ in told)
    return most, min(p99_s for answered, p99_s in told if answered >= 0.99 * most)


def _peaks(cost: TrueCost, loads: Sequence[float], *, by_cut: bool) -> tuple[int, int]:
    """The most frames answered in time at any load; and the most of which every cut has the same number.

    The second does not count what is gained by turning frames of early cuts away, which cost more. By cut, segments of
    one cut are no other cut's.
    """
    paths = [
        Path(*((segment, cut if by_cut else 0) for segment in range(cut, CUTS_APART))) for cut in range(CUTS_APART)
    ]
    most = alike = 0
    for load in loads:
        generator, at_s, frames = random.Random(7), 0.0, []
        while at_s < SECONDS:
            at_s += generator.expovariate(load)
            device = generator.randrange(DEVICES)
            frames.append(Arrival(at_s, f"device {device}", paths[device % len(paths)], 0.02 if cost is dense else 0.1))
        outcomes = Replay(_knowing(Scheduler(), paths, cost), cost).run(frames)
        in_time = Counter(outcome.arrival.path for outcome in outcomes if outcome.in_time)
        most = max(most, in_time.total())
        alike = max(alike, len(paths) * min(in_time[path] for path in paths))
    return most, alike


def _one_client(rule: Rule) -> float:
    """p99 of a client that sends its next frame as soon as it has an answer."""
    latencies: list[float] = []

    def following(outcome: Outcome) -> list[Arrival]:
        latencies.append(outcome.latency_s)
        return [Arrival(outcome.ended_s + 0.0002, "device", WHOLE, 1.0)] if len(latencies) < 300 else []

    Replay(_knowing(Scheduler(rule=rule), [WHOLE], shared), shared, follow=following).run(
        [Arrival(0.0, "device", WHOLE, 1.0)]
    )
    return sorted(latencies)[int(0.99 * len(latencies))]
