"""What a tier's stamps tell of the way down, whatever its clock shows, and what they cannot be made to tell."""

from __future__ import annotations

import random

import pytest

from adaptation.link import UplinkEstimator
from adaptation.one_way import WRAP_US, DownDelay
from adaptation.plan import Route

UP_S, DOWN_S, TIER_S = 0.03, 0.02, 0.01
AMPLE_S = 10.0


def stamp(arrived_s: float, clock_s: float) -> int:
    return int(1e6 * (arrived_s + clock_s)) % WRAP_US or 1


def waits(clock_s: float, drift: float = 0.0, seconds: float = 30.0) -> list[tuple[float, float]]:
    """What an answer waited on its way down, and what was made of it, ten a second."""
    down, chance, found = DownDelay(), random.Random(5), []
    for number in range(int(10 * seconds)):
        sent_s = 100.0 + 0.1 * number
        arrived_s = sent_s + UP_S + chance.uniform(0.0, 0.2)
        waited_s = chance.choice([0.0, 0.0, 0.05, 0.2])
        now_s = arrived_s + TIER_S + DOWN_S + waited_s
        told = stamp(arrived_s * (1.0 + drift), clock_s)
        found.append((waited_s, down.came(now_s, TIER_S, told, AMPLE_S)))
    return found


@pytest.mark.parametrize("clock_s", [0.0, 3600.0, -3600.0, 4294.967295 - 112.0, 1e7])
def test_what_was_waited_on_the_way_down_is_found_whatever_the_clock_shows(clock_s: float) -> None:
    for waited_s, found_s in waits(clock_s)[20:]:
        assert found_s == pytest.approx(waited_s, abs=2e-4)


def test_a_clock_that_runs_50_ppm_fast_or_slow_costs_some_milliseconds_at_most() -> None:
    for drift in (5e-5, -5e-5):
        found = waits(0.0, drift, seconds=400.0)[20:]
        assert max(abs(found_s - waited_s) for waited_s, found_s in found) < 4e-3


def test_what_is_expected_follows_the_queue_and_fades() -> None:
    down = DownDelay()
    for number, waited_s in enumerate([0.0, 0.3, 0.3, 0.3, 0.3]):
        at_s = 10.0 + 0.1 * number
        down.came(at_s + waited_s, 0.0, stamp(at_s, 0.0), AMPLE_S)
    assert 0.2 < down.expected_s(10.7) < 0.3
    assert down.expected_s(11.7) < 0.05
    assert DownDelay().expected_s(5.0) == 0.0


def test_no_more_is_shared_out_than_the_trip_took() -> None:
    """Whatever is said: stamps at random, from the future, always the same."""
    chance = random.Random(1)
    for lie in (lambda: chance.randrange(1, WRAP_US), lambda: WRAP_US - 1, lambda: 1):
        down = DownDelay()
        for number in range(200):
            most_s = chance.uniform(0.0, 0.3)
            assert 0.0 <= down.came(0.1 * number, TIER_S, lie(), most_s) <= most_s


def test_after_a_long_silence_nothing_is_held_against_the_clock() -> None:
    down = DownDelay()
    assert down.came(1.0, 0.0, 1000, AMPLE_S) == 0.0
    assert down.came(5000.0, 0.0, 77, AMPLE_S) == 0.0


def learnt(stamps: bool, waited_s: float) -> UplinkEstimator:
    """Frames of 5 kB on an uplink of 2 Mbit/s, whose answers mostly wait for so long on their way down."""
    estimator, free_s = UplinkEstimator(), 0.0
    for number in range(60):
        sent_s = 0.1 * number
        free_s = max(free_s, sent_s) + 8 * 5000 / 2e6
        arrived_s = free_s + UP_S
        held_s = waited_s if number % 5 else 0.0
        estimator.sent(number, 5000, sent_s, Route.EDGE)
        told = stamp(arrived_s, 50.0) if stamps else 0
        estimator.acknowledged(number, arrived_s + TIER_S + DOWN_S + held_s, TIER_S, 100, told)
    return estimator


def test_answers_held_up_on_their_way_down_are_not_laid_on_the_uplink() -> None:
    undisturbed = learnt(stamps=True, waited_s=0.0).estimate(6.0).mean_bps()
    blamed = learnt(stamps=False, waited_s=0.06).estimate(6.0)
    told = learnt(stamps=True, waited_s=0.06).estimate(6.0)
    assert told.mean_bps() == pytest.approx(undisturbed, rel=0.2)
    assert blamed.mean_bps() < 0.6 * undisturbed
    assert told.base_rtt_s[Route.EDGE] > blamed.base_rtt_s[Route.EDGE] + 0.02


def test_an_undisturbed_way_down_changes_nothing() -> None:
    with_stamps, without = (learnt(stamps, waited_s=0.0).estimate(6.0) for stamps in (True, False))
    assert (with_stamps.weights == without.weights).all()
    assert with_stamps.jitter_s == without.jitter_s
    assert with_stamps.base_rtt_s == without.base_rtt_s


def test_another_session_may_be_with_another_clock() -> None:
    estimator = learnt(stamps=True, waited_s=0.0)
    estimator.disconnected(Route.EDGE, 6.0)
    estimator.sent("next", 5000, 6.1, Route.EDGE)
    estimator.acknowledged("next", 6.1 + 0.02 + UP_S + TIER_S + DOWN_S + 0.04, TIER_S, 100, 9)
    assert estimator.estimate(6.3).base_rtt_s[Route.EDGE] == pytest.approx(UP_S + DOWN_S + 0.02, abs=5e-3)
