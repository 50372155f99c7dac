"""A link that stands still is known by its answers, and a choice stays on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from adaptation.arrays import read_only
from adaptation.goal import Goal
from adaptation.plan import Choice, Route
from adaptation.policies import DeadlinePolicy
from adaptation.snapshot import LinkEstimate, Past, Snapshot
from adaptation.steadiness import stands_still
from testbed.simulation.conditions import Conditions
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import light
from tests.adaptation.plans import TIERS, builtin_plan

LARGE, SMALL = Choice(2, 1, Route.EDGE), Choice(2, 0, Route.EDGE)
RTT_S, TIER_S = 0.04, 0.002


def seen(rate_bps: Callable[[int], float], *, frames: int = 20, given_up: frozenset[int] = frozenset()) -> Snapshot:
    """After frames of 600 and 300 bytes in turn over a first-in, first-out link, each sent at a rate of its own."""
    free_s, recent = 0.0, []
    for index in range(frames):
        sent_s, size = 0.1 * index, 600.0 if index % 2 else 300.0
        free_s = max(free_s, sent_s) + 8.0 * size / rate_bps(index)
        answered = index not in given_up
        choice = LARGE if index % 2 else SMALL
        ended_s = free_s + RTT_S + TIER_S
        recent.append(Past(choice, size, sent_s, ended_s, answered, answered, TIER_S if answered else 0.0))
    one = read_only([1.0])
    uplink = LinkEstimate(read_only([1e5]), one, read_only([0.0]), 0.0, {Route.EDGE: RTT_S}, {Route.EDGE: 0.002})
    now_s = recent[-1].ended_s
    return Snapshot(now_s, now_s + 0.25, now_s, builtin_plan(), uplink, TIERS, recent=tuple(recent))


@pytest.mark.parametrize("rate_bps", [3e4, 6e4, 2e5, 5e6])
def test_one_rate_explains_the_answers_of_a_link_that_stands_still(rate_bps: float) -> None:
    assert stands_still(seen(lambda _: rate_bps))
    assert stands_still(seen(lambda _: rate_bps, given_up=frozenset({15})))


def test_no_one_rate_explains_those_of_a_link_that_moves() -> None:
    assert not stands_still(seen(lambda index: 6e4 if index % 3 else 1.5e5))
    assert not stands_still(seen(lambda index: 2e5 * 0.85**index))


def test_a_few_answers_say_nothing() -> None:
    assert not stands_still(seen(lambda _: 2e5, frames=5))
    assert not stands_still(seen(lambda _: 2e5, given_up=frozenset(range(3, 20))))
    assert not stands_still(replace(seen(lambda _: 2e5), uplink=None))


@pytest.mark.parametrize("rate_bps", [6e4, 8e4, 1.5e5])
def test_a_constant_link_gets_less_than_one_change_a_second(rate_bps: float) -> None:
    given = Conditions(plan=light(), supply=steps([(20.0, rate_bps)]), seconds=15.0, deadline_s=0.25)
    run = Simulation(given, DeadlinePolicy(Goal(latency_weight=0.0))).go()
    chosen = [frame.choice for frame in run.frames[20:]]
    assert sum(one != other for one, other in pairwise(chosen)) < 0.1 * len(chosen)
    assert run.missed == 0
