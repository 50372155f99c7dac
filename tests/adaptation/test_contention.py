"""What other programs take of the device is seen in the frames that ended lately, and counts at once."""

from __future__ import annotations

import pytest

from adaptation.goal import Goal
from adaptation.plan import Choice, Option, Plan, Route
from adaptation.policies import DeadlinePolicy
from adaptation.policies.contention import ContentionPolicy, slowed
from adaptation.snapshot import Past
from tests.adaptation.test_policies import certain, snapshot

GOAL = Goal(latency_weight=0.0)
WHOLE, SENT = Choice(5, None, Route.DEVICE), Choice(1, 0, Route.EDGE)
PLAN = Plan((Option(WHOLE, 0.09, 0, 0, 0, 0.95), Option(SENT, 0.02, 2000, 60, 0.002, 0.9, head_s=0.015)))


def took(*factors: float) -> tuple[Past, ...]:
    """Frames computed on the device that took so many times longer than planned."""
    return tuple(Past(WHOLE, 0.0, 9.5, 9.5, True, True, device_s=0.09 * one) for one in factors)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((1.0, 2.0, 2.0), 2.0),
        ((2.0, 2.0, 1.0), 1.0),
        ((1.0, 3.0), 1.0),
        ((0.5, 0.6), 0.6),
        ((1.3, 0.7), 1.0),
        ((2.0,), 1.0),
    ],
)
def test_frames_that_agree_on_a_slowdown_set_it(factors: tuple[float, ...], expected: float) -> None:
    now = snapshot(certain(5e6), plan=PLAN, recent=took(*factors))
    assert ContentionPolicy(GOAL).slowdown(now) == pytest.approx(expected)


def test_a_slow_device_sends_what_it_would_have_computed() -> None:
    policy = ContentionPolicy(GOAL)
    alone = snapshot(certain(5e6), plan=PLAN)
    assert policy.decide(alone).choice == DeadlinePolicy(GOAL).decide(alone).choice == WHOLE
    shared = snapshot(certain(5e6), plan=PLAN, recent=took(3.0, 3.0))
    assert policy.decide(shared).choice == SENT
    assert DeadlinePolicy(GOAL).decide(shared).choice == WHOLE


def test_a_slowed_plan_takes_longer_on_the_device_and_nowhere_else() -> None:
    for before, after in zip(PLAN, slowed(PLAN, 2.0), strict=True):
        assert after.device_s == 2.0 * before.device_s
        assert after.reached_s == 2.0 * before.reached_s
        assert (after.choice, after.payload_bytes, after.tier_s) == (before.choice, before.payload_bytes, before.tier_s)
