"""Parts whose figures are wrong are tried and put right, and no more is lost on trying than was laid by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptation.errors import InvalidValue
from adaptation.goal import Goal
from adaptation.plan import Choice, Plan, Route
from adaptation.policies import DeadlinePolicy
from adaptation.snapshot import Trial
from adaptation.trying import Trials
from testbed.simulation.conditions import Conditions, Run
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import table
from tests.adaptation.test_policies import PLAN, certain, snapshot

GOAL = Goal(latency_weight=0.0)
TRUTH = table((0.005, 0.02), (12e3, 6e3), (0.5, 1.0), (0.8, 0.95), [(3, 0.09, 0.7)])
"""At 1.7 Mbit/s and 100 ms the second cut's upper level is the best: nothing else of that accuracy is in time."""
BEST = Choice(2, 1, Route.EDGE)


def run(share: float | None) -> Run:
    """A minute of a device that takes the second cut's head for two and a half times as slow as it is."""
    wrong = Plan(tuple(replace(one, device_s=one.device_s * (2.5 if one.choice.cut == 2 else 1.0)) for one in TRUTH))
    account = None if share is None else lambda: Trials(share=share, after_s=2.0)
    given = Conditions(plan=TRUTH, supply=steps([(60.0, 1.7e6)]), seconds=60.0, deadline_s=0.1)
    return Simulation(replace(given, believed=wrong, trials=account), DeadlinePolicy(GOAL)).go()


def test_a_part_whose_figure_is_too_bad_is_never_chosen_unless_it_is_tried() -> None:
    never, tried = run(None), run(0.02)
    assert BEST not in {frame.choice for frame in never.frames}
    assert sum(frame.choice == BEST for frame in tried.frames[-100:]) > 70
    assert sum(frame.accuracy for frame in tried.frames[-100:]) > sum(frame.accuracy for frame in never.frames[-100:])


def test_nothing_is_tried_that_is_not_laid_by() -> None:
    now = snapshot(certain(1e6))
    usual = DeadlinePolicy().decide(now)
    other = Choice(2, 0, Route.EDGE)
    stale = frozenset({(other.cut, True)})
    poor = DeadlinePolicy().decide(replace(now, trial=Trial(1e-9, stale)))
    rich = DeadlinePolicy().decide(replace(now, trial=Trial(1.0, stale)))
    assert usual.choice is not None
    assert usual.choice.cut != other.cut
    assert poor == usual
    assert rich.choice is not None
    assert (rich.choice.cut, rich.choice.remote) == (other.cut, True)
    assert 0.0 < rich.lost < 1.0


def test_the_account_lays_by_a_share_of_each_frame_and_pays_for_trials() -> None:
    account = Trials(share=0.01, after_s=1.0, most=0.1)
    for number in range(100):
        assert account.now(PLAN, 0.01 * number) is None or number > 0
        account.decided(PLAN[0].choice, 0.0, 0.01 * number)
    assert account.credit == pytest.approx(0.1)
    trial = account.now(PLAN, 2.5)
    assert trial is not None
    ran = PLAN[0].choice
    every = {(option.choice.cut, option.choice.remote) for option in PLAN}
    assert trial.stale >= every - {(ran.cut, ran.remote)}
    account.decided(PLAN[1].choice, 0.105, 2.5)
    assert account.credit < 0.0
    assert account.now(PLAN, 2.6) is None


def test_an_impossible_account_is_refused() -> None:
    with pytest.raises(InvalidValue, match="share"):
        Trials(share=2.0)
