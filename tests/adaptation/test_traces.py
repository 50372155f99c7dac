"""The default policy on links that move, against every fixed choice and against the best there is."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from adaptation.goal import Goal
from adaptation.plan import Choice, Plan, Route
from adaptation.policies import DeadlinePolicy, policy_named
from adaptation.snapshot import TierState
from tests.adaptation.plans import EXIT, builtin_plan
from tests.adaptation.trace import Link, Run, Simulation, mahimahi

PLAN = builtin_plan()
GOAL = Goal()
TRACE = Path(__file__).parents[3] / "shared/data/traces/mahimahi/ATT-LTE-driving.up"

GOOD_THIN_DEAD_GOOD = Link(((0, 5e6), (8, 30e3), (16, 0.0), (22, 5e6)))
SEESAW = Link(tuple((i * 2.0, rate) for i, rate in enumerate([3e6, 60e3, 20e3, 200e3, 8e3] * 3)))
BLINKING = Link(tuple((i * 1.5, (2e6, 0.0)[i % 2]) for i in range(20)))
JITTERY = Link(((0, 300e3), (8, 40e3), (16, 0.0), (19, 2e6)), jitter_s=0.012)
NEARLY_FULL = Link(((0, 300e3), (8, 15e3), (16, 2e6)), jitter_s=0.012)
"""For 8 s the smallest message takes 91 of every 100 ms."""


def adaptive(link: Link, seconds: float, plan: Plan = PLAN) -> Run:
    return Simulation(plan, link, seconds, policy=DeadlinePolicy()).go()


def best_fixed(link: Link, seconds: float, plan: Plan = PLAN) -> float:
    runs = (Simulation(plan, link, seconds, given=[option.choice]).go() for option in plan)
    return max(run.utility(plan, GOAL) for run in runs)


@pytest.mark.parametrize(
    ("link", "seconds"), [(GOOD_THIN_DEAD_GOOD, 30), (SEESAW, 30), (BLINKING, 30), (JITTERY, 24)],
    ids=["good-thin-dead-good", "seesaw", "blinking", "jittery"],
)  # fmt: skip
def test_on_a_moving_link_it_beats_every_fixed_choice(link: Link, seconds: float) -> None:
    assert adaptive(link, seconds).utility(PLAN, GOAL) > best_fixed(link, seconds)


def test_on_a_link_that_the_smallest_frames_nearly_fill_it_loses_little_to_the_right_guess() -> None:
    assert adaptive(NEARLY_FULL, 24).utility(PLAN, GOAL) > best_fixed(NEARLY_FULL, 24) - 0.03


@pytest.mark.skipif(not TRACE.exists(), reason="the recorded traces are not here")
@pytest.mark.slow
def test_on_a_recorded_drive_with_an_outage_it_beats_every_fixed_choice() -> None:
    link = mahimahi(TRACE, 770, 880)
    assert adaptive(link, 110).utility(PLAN, GOAL) > best_fixed(link, 110)


@pytest.mark.parametrize("rate_bps", [15e3, 25e3, 40e3, 100e3, 1e6, 20e6])
def test_on_a_constant_link_it_comes_near_the_best_fixed_choice_and_does_not_oscillate(rate_bps: float) -> None:
    link = Link(((0, rate_bps),))
    run = adaptive(link, 20)
    assert run.utility(PLAN, GOAL) > best_fixed(link, 20) - 0.02
    assert run.changes(first_s=1.0) < 19


def test_an_outage_turns_the_choice_local_within_four_hundred_milliseconds_and_costs_few_frames() -> None:
    for phase in (0.0, 0.03, 0.06, 0.09):
        begins_s = 5.0 + phase
        link = Link(((0, 5e6), (begins_s, 0.0), (15, 5e6)))
        simulation = Simulation(PLAN, link, 20, policy=DeadlinePolicy())
        run = simulation.go()
        policy = DeadlinePolicy()
        during = [(now_s, policy.decide(seen).choice) for now_s, seen in simulation.decisions if begins_s <= now_s < 15]
        turned = next(now_s for now_s, choice in during if choice == EXIT)
        assert turned - begins_s <= 0.4
        assert all(choice in (EXIT, None) for now_s, choice in during if now_s >= turned)
        assert run.misses(begins_s - 0.25, begins_s + 0.5) <= 4


def test_the_links_return_is_used_within_five_frames() -> None:
    link = Link(((0, 5e6), (5, 0.0), (12, 5e6)))
    run = adaptive(link, 16)
    after = [frame for frame in run.frames if frame.captured_s >= 12.0]
    assert any(frame.choice is not None and frame.choice.remote and run.in_time(frame) for frame in after[:6])
    assert all(frame.choice is not None and frame.choice.remote for frame in after[6:])


def test_a_tier_that_goes_and_comes_is_left_and_used_again_at_once() -> None:
    def tiers(now_s: float) -> dict[Route, TierState]:
        return {Route.EDGE: TierState(not 5.0 <= now_s < 7.0)}

    simulation = Simulation(PLAN, Link(((0, 5e6),)), 10, policy=DeadlinePolicy(), tiers=tiers)
    run = simulation.go()
    for frame in run.frames[2:]:
        if frame.choice is not None and not 4.9 <= frame.captured_s <= 7.3:
            assert frame.choice.remote
        if frame.choice is not None and 5.0 <= frame.captured_s < 6.9:
            assert frame.choice == EXIT


def test_a_run_repeats_exactly() -> None:
    first, second = adaptive(SEESAW, 10), adaptive(SEESAW, 10)
    assert first == second


FEW = (EXIT, Choice(1, 0, Route.EDGE), Choice(1, 3, Route.EDGE), Choice(3, 0, Route.EDGE))
TOLERATED = {
    Link(((0, 5e6),), jitter_s=1e-4): 0.005,
    Link(((0, 30e3),), jitter_s=1e-4): 0.02,
    Link(((0, 200e3), (0.9, 30e3)), jitter_s=1e-4): 0.25,  # one frame of four, before the change can be seen
    Link(((0, 1e6), (0.9, 0.0)), jitter_s=1e-4): 0.5,  # two of four are on their way when it dies
}


@pytest.mark.parametrize(
    "link",
    TOLERATED,
    ids=["good", "thin", "thinning", "dying"],
)
def test_no_sequence_of_choices_is_much_better_once_the_link_is_learnt(link: Link) -> None:
    few = Plan(tuple(option for option in PLAN if option.choice in FEW))
    warm = adaptive(link, 1.2, few)
    learnt = [frame.choice or EXIT for frame in warm.frames[:8]]
    tails = itertools.product([option.choice for option in few], repeat=4)
    runs = [Simulation(few, link, 1.2, given=[*learnt, *tail]).go() for tail in tails]
    best = max(Run(run.frames[8:]).utility(few, GOAL) for run in runs)
    assert Run(warm.frames[8:]).utility(few, GOAL) > best - TOLERATED[link]


def test_registration_gives_the_same_policy() -> None:
    assert policy_named("deadline") == DeadlinePolicy()
    assert policy_named("deadline", {"margin": 0.02}) == DeadlinePolicy(Goal(margin=0.02))
