"""What long answers take on their way down is told apart from what the frames took on their way up."""

from __future__ import annotations

import pytest

from adaptation.goal import Goal
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Option, Plan, Route
from adaptation.policies import DeadlinePolicy
from testbed.simulation.conditions import Conditions
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps

RTT_S, TIER_S, UP_BPS = 0.04, 0.003, 4e6


def exchange(down_bps: float, answer_bytes: float, *, told: bool = True, seconds: float = 6.0) -> UplinkEstimator:
    """Frames of 2 kB up and answers down, ten a second, after ten probes."""
    uplink, free_s = UplinkEstimator(), 0.0
    for number in range(round(10 * seconds)):
        now_s, size, down_bytes = 0.1 * number, 2000.0, answer_bytes
        if number < 10:
            size, down_bytes = 500.0, 20.0
        uplink.sent(number, size, now_s, Route.EDGE)
        free_s = max(free_s, now_s + 8 * size / UP_BPS + RTT_S + TIER_S) + 8 * down_bytes / down_bps
        uplink.acknowledged(number, free_s, TIER_S, down_bytes if told else 0.0)
    return uplink


@pytest.mark.parametrize("down_bps", [1e6, 3e6, 2e7])
def test_the_rate_of_the_way_down_is_found_and_the_uplink_is_not_blamed(down_bps: float) -> None:
    believed = exchange(down_bps, 9000.0).estimate(6.0)
    assert believed.downlink_bps == pytest.approx(down_bps, rel=0.4)
    assert believed.mean_bps() > 0.5 * UP_BPS


def test_who_is_not_told_how_long_answers_are_takes_the_uplink_for_thin() -> None:
    assert exchange(1e6, 9000.0, told=False).estimate(6.0).mean_bps() < 0.2 * UP_BPS


def test_short_answers_say_nothing_about_the_way_down() -> None:
    assert exchange(1e6, 200.0).estimate(6.0).downlink_bps == float("inf")


def test_where_answers_are_too_long_for_the_way_down_the_device_answers_itself() -> None:
    """80 kB of a mask in each answer: 320 ms at 2 Mbit/s, 32 ms at 20."""
    plan = Plan((
        Option(Choice(2, None, Route.DEVICE), 0.09, 0.0, 0.0, 0.0, 0.8),
        Option(Choice(1, 0, Route.EDGE), 0.02, 2000.0, 80e3, TIER_S, 0.95),
    ))  # fmt: skip
    shares = []
    for down_bps in (2e6, 2e7):
        given = Conditions(
            plan=plan, supply=steps([(30.0, UP_BPS)]), downlink=steps([(30.0, down_bps)]), seconds=20.0, deadline_s=0.25
        )
        run = Simulation(given, DeadlinePolicy(Goal(latency_weight=0.0))).go()
        shares.append(sum(frame.choice == plan[1].choice for frame in run.frames[50:]) / 150)
        assert run.missed <= 20
    assert shares[0] < 0.1
    assert shares[1] > 0.9
