"""Work for simulated tiers, and costs that are known."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from serving.scheduling.jobs import Path, Step
from serving.scheduling.replay import Arrival, Outcome, TrueCost
from serving.scheduling.scheduler import Scheduler


def affine(base_s: float, each_s: float) -> TrueCost:
    """Batches share the base."""
    return lambda step, size: base_s + each_s * size


SHARED = affine(0.0008, 0.0002)
UNSHARED = affine(0.0, 0.001)


def cuts(segments: int = 4) -> list[Path]:
    """The path from each cut to the end of one network."""
    return [Path(*(f"segment {segment}" for segment in range(cut, segments))) for cut in range(segments)]


def knowing(scheduler: Scheduler, paths: Sequence[Path], cost: TrueCost, largest: int = 8) -> Scheduler:
    """The same, told what everything costs up to a batch size."""
    for step in {step: None for path in paths for step in path.steps}:
        for size in (1, 2, 4, 8, 16, 32, 64):
            if size <= largest:
                scheduler.costs.learn(step, size, cost(step, size))
    return scheduler


def single(scheduler: Scheduler, steps: Sequence[Step]) -> Scheduler:
    """The same, never batching."""
    for step in steps:
        scheduler.costs.of(step).forbid_batches()
    return scheduler


def poisson(
    sender: str, path: Path, per_s: float, until_s: float, patience_s: float, generator: random.Random
) -> Iterator[Arrival]:
    at_s = generator.expovariate(per_s)
    while at_s < until_s:
        yield Arrival(at_s, sender, path, patience_s)
        at_s += generator.expovariate(per_s)


def in_time(outcomes: Sequence[Outcome], sender: str | None = None) -> int:
    return sum(outcome.in_time for outcome in outcomes if sender in (None, outcome.arrival.sender))


def p99_s(outcomes: Sequence[Outcome]) -> float:
    """Of all frames; one that got no answer took for ever."""
    latencies = sorted(outcome.latency_s if outcome.answered else float("inf") for outcome in outcomes)
    return latencies[int(0.99 * len(latencies))]
