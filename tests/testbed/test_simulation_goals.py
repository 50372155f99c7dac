"""Other goals than accuracy under a deadline, played in simulated time."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from adaptation.budget import ByteBudget
from adaptation.decision import Decision
from adaptation.goal import Goal
from adaptation.plan import Plan
from adaptation.policies import DeadlinePolicy
from adaptation.policies.content import ContentPolicy
from adaptation.policies.contention import ContentionPolicy, slowed
from adaptation.policies.spinn import SpinnPolicy
from adaptation.snapshot import Snapshot
from adaptation.worth import worth
from testbed.simulation.conditions import Conditions, Run
from testbed.simulation.hindsight import fixed_utilities
from testbed.simulation.oracle import foresee
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import TABLES

LINK = steps([(8.0, 4e6), (6.0, 3e5), (2.0, 0.0), (14.0, 2e6)])
WATTS, JOULES_PER_BYTE = 4.0, 5e-6
PLAN = Plan(
    tuple(
        replace(one, joules=WATTS * one.device_s + JOULES_PER_BYTE * one.message_bytes) for one in TABLES["mobilenet"]()
    )
)
GIVEN = Conditions(plan=PLAN, supply=LINK, seconds=30.0, deadline_s=0.25)


def played(given: Conditions = GIVEN, **goal: float) -> Run:
    return Simulation(given, DeadlinePolicy(Goal(**goal))).go()


def joules(run: Run) -> float:
    options = [PLAN.find(frame.choice) for frame in run.frames if frame.choice]
    return sum(option.joules for option in options if option is not None)


def test_the_dearer_energy_is_the_less_of_it_is_spent() -> None:
    runs = [played(energy_weight=weight) for weight in (0.0, 0.3, 3.0)]
    spent = [joules(run) for run in runs]
    assert spent[0] > spent[1] > spent[2]
    assert spent[1] < 0.85 * spent[0]
    assert runs[1].utility > 0.9 * runs[0].utility


def test_who_asks_for_latency_gets_it() -> None:
    def mean_s(run: Run) -> float:
        return float(np.mean([frame.done_s - frame.captured_s for frame in run.frames if frame.done_s is not None]))

    assert mean_s(played(latency_weight=1.0)) < mean_s(played(latency_weight=0.0))


def test_who_asks_for_hits_alone_misses_no_more_than_who_asks_for_right_answers() -> None:
    hits = played(accuracy_weight=0.0, latency_weight=0.0)
    assert hits.missed <= played(latency_weight=0.0).missed


@pytest.mark.parametrize("bytes_per_s", [3e3, 12e3])
def test_a_byte_budget_is_kept_and_beats_every_fixed_choice_that_keeps_it(bytes_per_s: float) -> None:
    budget = ByteBudget(30.0 * bytes_per_s, period_s=30.0, in_hand_s=3.0)
    given = replace(GIVEN, supply=steps([(30.0, 4e6)]), budget=budget)
    run = played(given)
    assert run.sent_bytes <= 33.0 * bytes_per_s
    assert played(replace(given, budget=None)).sent_bytes > 33.0 * bytes_per_s
    kept = PLAN.columns.message_bytes * 10.0 <= bytes_per_s
    assert run.utility > max(fixed_utilities(given)[kept])


def test_frames_that_matter_more_get_more_of_a_scarce_budget() -> None:
    budget = ByteBudget(30.0 * 6e3, period_s=30.0, in_hand_s=3.0)
    given = replace(GIVEN, supply=steps([(30.0, 4e6)]), budget=budget)
    weighted = played(replace(given, importance=lambda index: 10.0 if index % 5 == 0 else 1.0))
    alike = played(given)
    assert weighted.sent_bytes <= 33.0 * 6e3

    def mean(run: Run, remainder: bool) -> float:
        return float(np.mean([frame.accuracy for k, frame in enumerate(run.frames) if (k % 5 == 0) is remainder]))

    assert mean(weighted, True) > mean(weighted, False)
    assert mean(weighted, True) > mean(alike, True)


@pytest.mark.parametrize("link", [[(30.0, 3e6)], [(8.0, 4e6), (6.0, 1e5), (2.0, 0.0), (14.0, 1e6)]])
def test_on_scenes_of_easy_and_hard_inputs_the_exit_is_worth_asking(link: list[tuple[float, float]]) -> None:
    """Five seconds easy, five seconds hard: against the default, which asks none, and against a fixed threshold."""
    chance = random.Random(1)
    sure = [chance.uniform(0.85, 0.999) if k // 50 % 2 == 0 else chance.uniform(0.2, 0.7) for k in range(300)]
    given = replace(GIVEN, plan=TABLES["mobilenet"](), supply=steps(link), confidence=sure.__getitem__)
    goal = Goal(latency_weight=0.0)
    content, default, spinn = (
        Simulation(given, policy).go().utility for policy in (ContentPolicy(goal), DeadlinePolicy(goal), SpinnPolicy())
    )
    assert content > default + 0.05
    assert content > spinn - 0.01


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("kind", [DeadlinePolicy, ContentionPolicy])
def test_under_contention_each_choice_is_right_again_within_ten_frames(kind: type[DeadlinePolicy], table: str) -> None:
    """Right: no more than a fiftieth below what is best for whoever knows that all takes the device twice as long."""
    plan, policy = TABLES[table](), kind(Goal(latency_weight=0.0))
    knowing = DeadlinePolicy(policy.goal)
    wrong = []

    def judge(index: int, seen: Snapshot, decision: Decision) -> None:
        truth = replace(seen, plan=slowed(plan, 2.0))
        best = knowing.decide(truth).choice
        if seen.now_s < 5.0 or best is None:
            return
        worths = worth(truth, policy.goal).utility
        got = 0.0 if decision.choice is None else worths[plan.columns.positions[decision.choice]]
        if got < 0.98 * worths[plan.columns.positions[best]]:
            wrong.append(index - 50)

    given = replace(GIVEN, plan=plan, supply=steps([(60.0, 3e6)]), seconds=10.0)
    run = Simulation(replace(given, slowdown=lambda now_s: 1.0 + (now_s >= 5.0)), policy, observe=judge).go()
    assert max(wrong, default=0) < 10
    best = foresee(replace(given, plan=slowed(plan, 2.0), seconds=5.0)).utility
    assert float(np.mean([frame.accuracy for frame in run.frames[50:]])) >= 0.9 * best
