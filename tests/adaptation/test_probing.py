"""When probes are sent, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptation.arrays import read_only
from adaptation.budget import ByteBudget
from adaptation.errors import InvalidValue
from adaptation.link import UplinkEstimator
from adaptation.plan import Route
from adaptation.probing import ECHO_BYTES, PROBE_BYTES, ProbeSettings, ProbeState, next_probe_s, probe_due, probe_parts
from adaptation.snapshot import LinkEstimate
from tests.adaptation.plans import builtin_plan


def link(alive: float) -> LinkEstimate:
    return LinkEstimate(read_only([1, 1e6]), read_only([1 - alive, alive]), read_only([0, 0]), 0.0, {}, {})


def probes(alive: float, seconds: float, *, frames: bool, answered: bool) -> list[float]:
    """The moments of probes when asked every 10 ms, beside 200-byte frames each 100 ms or none."""
    state, pace, moments = ProbeState(0.0), ProbeSettings(), []
    for step in range(round(seconds / 0.01)):
        now_s = step * 0.01
        if frames and step % 10 == 0:
            state.sent(200, now_s)
        if probe_due(link(alive), state, now_s, pace):
            moments.append(now_s)
            state.sent(PROBE_BYTES, now_s, probe=True)
            if answered:
                state.unanswered = 0
    return moments


def test_a_link_in_use_is_not_probed() -> None:
    assert probes(0.99, 10, frames=True, answered=True) == []


def test_an_idle_link_is_probed_each_second() -> None:
    moments = probes(0.99, 10, frames=False, answered=True)
    assert moments == pytest.approx([float(second) for second in range(10)], abs=0.02)


def test_a_dead_link_is_probed_ever_more_seldom_and_at_least_each_second() -> None:
    moments = probes(0.1, 10, frames=False, answered=False)
    assert moments == pytest.approx([0.0, 0.2, 0.6, *(1.4 + second for second in range(9))], abs=0.05)


def test_probes_stay_within_their_budget() -> None:
    hurried = ProbeSettings(dead_every_s=0.01, idle_every_s=0.01)
    state = ProbeState(started_s=0.0, sent_bytes=1e6)
    assert probe_due(link(0.1), state, 10.0, hurried)
    assert probe_due(link(0.1), replace(state, probe_bytes=0.009e6), 10.0, hurried)
    assert not probe_due(link(0.1), replace(state, probe_bytes=0.011e6), 10.0, hurried)


def test_the_next_moment_is_told_in_advance() -> None:
    state, pace = ProbeState(0.0, 4.5, 3.0, 1000.0, 70.0), ProbeSettings()
    assert next_probe_s(link(0.9), state, pace) == pytest.approx(5.5)
    assert next_probe_s(link(0.1), state, pace) == pytest.approx(3.2)
    assert not probe_due(link(0.9), state, 5.0, pace)
    assert probe_due(link(0.9), state, 5.5, pace)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InvalidValue, match="probe intervals"):
        ProbeSettings(dead_every_s=0.0)


def test_a_train_is_sent_in_two_parts_and_a_dead_or_silent_link_gets_one_short_message() -> None:
    train = ProbeSettings(train=8)
    assert probe_parts(link(0.99), train) == (PROBE_BYTES, 7 * PROBE_BYTES)
    assert probe_parts(link(0.2), train) == (ECHO_BYTES,)
    assert probe_parts(link(0.99), train, unanswered=1) == (PROBE_BYTES,)
    assert probe_parts(link(0.99), ProbeSettings()) == (PROBE_BYTES,)


def test_a_train_is_no_longer_than_what_a_thin_link_carries_at_once() -> None:
    thin = LinkEstimate(read_only([1, 6e4]), read_only([0.01, 0.99]), read_only([0, 0]), 0.0, {}, {})
    parts = probe_parts(thin, ProbeSettings(train=25))
    assert len(parts) == 2
    assert 8 * sum(parts) <= 0.05 * 6e4


def test_the_first_message_shows_the_round_trip_and_the_train_behind_it_the_rate() -> None:
    """60 kbit/s and 40 ms: the train alone, 560 bytes in 115 ms, could as well be a fast link to a tier far away."""
    timed, untimed = UplinkEstimator(), UplinkEstimator()
    for number in range(20):
        sent_s = 0.2 * number
        for estimator in (timed, untimed):
            estimator.sent(number, 560, sent_s, Route.EDGE)
        timed.timed(Route.EDGE, 0.04 + 70 * 8 / 6e4)
        for estimator in (timed, untimed):
            estimator.acknowledged(number, sent_s + 0.04 + 560 * 8 / 6e4, 0.0)
    assert timed.estimate(4.0).mean_bps() == pytest.approx(6e4, rel=0.5)
    assert untimed.estimate(4.0).mean_bps() > 4 * 6e4


def test_of_a_byte_budget_probes_take_a_small_share() -> None:
    frugal = ProbeSettings.for_plan(builtin_plan(), ByteBudget(2e6, period_s=1e3))
    assert frugal.floor_bps == pytest.approx(0.05 * 8 * 2e3)
    assert ProbeSettings.for_plan(builtin_plan()).floor_bps > frugal.floor_bps
