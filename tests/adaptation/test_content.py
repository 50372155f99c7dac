"""An exit is asked first where inputs are easy, and is held to what the link offers instead."""

from __future__ import annotations

import pytest

from adaptation.decision import Decision
from adaptation.errors import InvalidValue
from adaptation.goal import Goal
from adaptation.plan import Choice, Option, Plan, Route
from adaptation.policies import DeadlinePolicy, policy_named
from adaptation.policies.content import SURE, ContentPolicy
from adaptation.snapshot import Past
from tests.adaptation.test_policies import certain, snapshot

GOAL = Goal(latency_weight=0.0)
EXIT, WHOLE, SENT = Choice(2, None, Route.DEVICE), Choice(5, None, Route.DEVICE), Choice(2, 0, Route.EDGE)
PLAN = Plan((
    Option(EXIT, 0.03, 0, 0, 0, 0.6), Option(WHOLE, 0.09, 0, 0, 0, 0.7), Option(SENT, 0.02, 2000, 60, 0.002, 0.9),
))  # fmt: skip


def seen(*confidences: float) -> tuple[Past, ...]:
    """Frames whose exit was so sure, and that were sent all the same."""
    return tuple(Past(SENT, 2000.0, 9.5, 9.6, True, True, exit_confidence=one) for one in confidences)


def decided(rate_bps: float, *confidences: float) -> Decision:
    return ContentPolicy(GOAL).decide(snapshot(certain(rate_bps), plan=PLAN, recent=seen(*confidences)))


def test_easy_inputs_ask_the_exit_and_hard_ones_are_sent_at_once() -> None:
    easy = decided(5e6, *[0.99, 0.97, 0.98, 0.99] * 4)
    assert easy.exit_first is not None
    assert easy.exit_first.cut == EXIT.cut
    assert easy.choice == SENT
    slow_exit = Plan((Option(EXIT, 0.12, 0, 0, 0, 0.6), *PLAN.options[1:]))
    hard = snapshot(certain(5e6), plan=slow_exit, recent=seen(*[0.3] * 40), interval_s=0.1)
    assert ContentPolicy(GOAL).decide(hard).exit_first is None


def test_an_exit_has_to_be_as_sure_as_sending_is_right() -> None:
    good = decided(5e6, *[0.99] * 16).exit_first
    assert good is not None
    assert good.confidence == pytest.approx(0.9, abs=0.01)
    assert good.confidence <= SURE


def test_an_exit_in_vain_counts_to_the_time_that_the_device_takes() -> None:
    """A head of 100 ms behind a classifier of 20 ms loses every sixth frame; one of 60 ms loses none."""
    deep, near = Choice(4, 0, Route.EDGE), Choice(3, 0, Route.EDGE)
    first = Option(Choice(2, 0, Route.EDGE), 0.035, 2000, 60, 0.002, 0.7)
    plan = Plan((
        Option(EXIT, 0.055, 0, 0, 0, 0.6), Option(WHOLE, 0.18, 0, 0, 0, 0.7), first,
        Option(near, 0.06, 2000, 60, 0.002, 0.89), Option(deep, 0.1, 2000, 60, 0.002, 0.9),
    ))  # fmt: skip
    now = snapshot(certain(5e6), plan=plan, recent=seen(*[0.99] * 16), interval_s=0.1, deadline_s=10.5)
    asked = ContentPolicy(GOAL).decide(now)
    assert asked.exit_first is not None
    assert asked.choice == near


def test_on_a_worse_link_less_sure_answers_are_final() -> None:
    """2000 bytes at 90 kbit/s come at the deadline give or take: sending is worth half of what it is worth else."""
    thin = decided(9e4, *[0.9] * 16).exit_first
    fast = decided(5e6, *[0.99] * 16).exit_first
    assert thin is not None
    assert fast is not None
    assert thin.confidence < 0.8 * fast.confidence


def test_without_an_exit_or_a_tier_it_decides_as_the_default() -> None:
    usual = DeadlinePolicy(GOAL)
    for options, tiers in ((PLAN.options[1:], None), (PLAN.options, {})):
        now = snapshot(certain(5e6), plan=Plan(options), **({} if tiers is None else {"tiers": tiers}))
        assert ContentPolicy(GOAL).decide(now) == usual.decide(now)


def test_parameters_are_checked() -> None:
    with pytest.raises(InvalidValue, match="believed"):
        policy_named("content", {"believed": 2.0})
    with pytest.raises(InvalidValue, match="last"):
        policy_named("contention", {"last": 0})
