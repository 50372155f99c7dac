"""Seconds to plan a network of 1,000 operators on three tiers, for every goal, and what the bounds leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.figure import Figure
from partitioner.planning.fronts import best_between, pareto
from partitioner.planning.network import Link, Operator, Setting, Tier
from partitioner.planning.plan import GOALS, Planner

OPERATORS = 1000
RUNS = 9


def figures() -> Sequence[Figure]:
    """All goals together in less than 0.3 s; the value of what only has a bound, against that bound."""
    settings = [_network(seed) for seed in range(RUNS + 1)]
    _plan_all(settings[0])  # imports and caches
    all_goals, front, rates, gaps = [], [], [], []
    for setting in settings[1:]:
        all_goals.append(_seconds(partial(_plan_all, setting)))
        front.append(_seconds(partial(_pareto, setting)))
        rates.append(_seconds(partial(best_between, setting, 0, 1e5, 1e8)))
        throughput = Planner(setting).plan("throughput")
        gaps.append(throughput.value / throughput.bound - 1)
    return [
        Figure.of_runs(f"{OPERATORS} operators, 3 tiers: all {len(GOALS)} goals", all_goals, "s", 0.3, "below"),
        Figure.of_runs("the same, Pareto set of latency and joules", front, "s"),
        Figure.of_runs("the same, best cuts from 0.1 to 100 Mbit/s", rates, "s"),
        Figure.of_runs("throughput: distance to its stated bound", gaps, "share"),
    ]


def _plan_all(setting: Setting) -> None:
    planner = Planner(setting)
    for goal in GOALS:
        planner.plan(goal)


def _pareto(setting: Setting) -> None:
    pareto(Planner(setting), "latency_s", "joules")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _network(seed: int) -> Setting:
    """A deep network with skips whose tensors shrink with depth, as image networks' do."""
    generator = np.random.default_rng(seed)
    operators = [Operator("input", (), (0.0, 0.0, 0.0), 6e5)]
    for position in range(1, OPERATORS):
        skip = {int(generator.integers(max(0, position - 6), position))} if generator.random() < 0.4 else set()
        cloud_s = float(generator.exponential(1e-4))
        operators.append(
            Operator(
                name=f"operator {position}",
                reads=tuple(sorted({position - 1, *skip})),
                seconds=(20 * cloud_s, 3 * cloud_s, cloud_s),
                tensor_bytes=float(generator.exponential(2e5) * np.exp(-position / 300)),
                weight_bytes=float(generator.uniform(0, 1e5)),
                result_bytes=4000.0 if position == OPERATORS - 1 else 0.0,
            )
        )
    tiers = (Tier("device", watts=3.0), Tier("edge"), Tier("cloud"))
    return Setting(tuple(operators), tiers, (Link(2e7, 0.005, joules_per_byte=1e-6), Link(5e7, 0.02)))
