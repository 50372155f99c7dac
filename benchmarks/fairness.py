"""The scheduler in simulated time: one greedy sender, equals with too little, and three times too much.

Simulated like `bench batching`, and measured once the tier has seen its first refusals (after a second).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.batching import SIZES, WHOLE, shared, unshared
from benchmarks.figure import Figure
from serving.scheduling.replay import Arrival, Outcome, Replay, TrueCost
from serving.scheduling.scheduler import Scheduler

PATIENCE_S = 0.1
SETTLED_S = 1.0
SECONDS = 5.0
DEVICES = 20
SEEDS = (5, 6, 7, 8, 9)
"""Of the frames beside a greedy sender: a p99 of one run is that of some twenty of them."""
COSTS: dict[str, tuple[TrueCost, float]] = {
    "frames share": (shared, 0.0013),
    "frames share nothing": (unshared, 0.0041),
}
"""Cost of a step, and about what a frame costs at best."""


def figures() -> Sequence[Figure]:
    """For a model whose frames share work in a batch, and one whose frames do not."""
    found = []
    for name, (cost, each_s) in COSTS.items():
        delays = [_delay(cost, each_s, seed) for seed in SEEDS]
        equal = _run(cost, {f"device {n}": 3 / each_s / DEVICES for n in range(DEVICES)})
        peak = _run(cost, {f"device {n}": 1 / each_s / DEVICES for n in range(DEVICES)})
        refused = [outcome for outcome in equal if outcome.refusal is not None]
        found += [
            Figure.of_runs(
                f"{name}: p99 of {DEVICES} beside one at 20 times its share", delays, "times", 1.2, "at most",
                "without it",
            ),
            Figure(f"{name}: Jain's index of equals at 3 times too much", _jain(equal), "", 0.98, "at least"),
            Figure(
                f"{name}: goodput at 3 times too much", _in_time(equal) / _in_time(peak), "times", 0.9, "at least",
                "at 1 times",
            ),
            Figure(
                f"{name}: time to a refusal, p99", _p99(sorted(outcome.latency_s for outcome in refused)) * 1000,
                "ms", 10.0, "at most",
            ),
        ]  # fmt: skip
    return found


def _delay(cost: TrueCost, each_s: float, seed: int) -> float:
    """How many times what it is without a greedy sender the p99 of the others is beside it."""
    modest = {f"device {n}": 0.5 / each_s / DEVICES for n in range(DEVICES)}
    alone = _run(cost, modest, seed)
    beside = _run(cost, modest | {"greedy": 20 / (DEVICES + 1) / each_s}, seed)
    others = [outcome for outcome in beside if outcome.arrival.sender != "greedy"]
    return _p99_s(others) / _p99_s(alone)


def _run(cost: TrueCost, loads: dict[str, float], seed: int = SEEDS[0]) -> Sequence[Outcome]:
    generator, frames = random.Random(seed), []
    for sender, rate in loads.items():
        at_s = generator.expovariate(rate)
        while at_s < SETTLED_S + SECONDS:
            frames.append(Arrival(at_s, sender, WHOLE, PATIENCE_S))
            at_s += generator.expovariate(rate)
    scheduler = Scheduler()
    for step in WHOLE.steps:
        for size in SIZES:
            scheduler.costs.learn(step, size, cost(step, size))
    outcomes = Replay(scheduler, cost).run(frames)
    return [outcome for outcome in outcomes if outcome.arrival.at_s > SETTLED_S]


def _in_time(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.in_time for outcome in outcomes)


def _p99(values: Sequence[float]) -> float:
    return values[int(0.99 * len(values))]


def _p99_s(outcomes: Sequence[Outcome]) -> float:
    """Of all frames; one without an answer took for ever."""
    return _p99(sorted(outcome.latency_s if outcome.answered else float("inf") for outcome in outcomes))


def _jain(outcomes: Sequence[Outcome]) -> float:
    senders = {outcome.arrival.sender for outcome in outcomes}
    got = [sum(outcome.in_time for outcome in outcomes if outcome.arrival.sender == sender) for sender in senders]
    return sum(got) ** 2 / (len(got) * sum(one * one for one in got))
