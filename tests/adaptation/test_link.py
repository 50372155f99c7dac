"""The uplink estimate against a link whose rate is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptation.arrays import FloatArray
from adaptation.errors import InvalidValue
from adaptation.link import MAX_TRACKED, UplinkEstimator
from adaptation.plan import Route
from adaptation.rates import RateChain, RateSettings
from adaptation.snapshot import LinkEstimate

RTT_S = 0.04
TIER_S = 0.004


def serve(uplink: UplinkEstimator, rate_bps: float, sizes: list[int], start_s: float = 0.0) -> float:
    """Frames 100 ms apart over an idle link of this rate, each answered; returns the time after the last."""
    now_s = start_s
    for number, size in enumerate(sizes):
        uplink.sent(("served", start_s, number), size, now_s, Route.EDGE)
        uplink.acknowledged(("served", start_s, number), now_s + size * 8 / rate_bps + RTT_S + TIER_S, TIER_S)
        now_s += 0.1
    return now_s


def completion_s(estimate: LinkEstimate, now_s: float, message_bytes: float, route: Route = Route.EDGE) -> FloatArray:
    """When a frame sent now would be answered, under each rate."""
    leaves_s = np.maximum(now_s, estimate.free_s) + message_bytes * 8 / estimate.rates_bps
    answered_s: FloatArray = leaves_s + estimate.base_rtt_s[route]
    return answered_s


def chance(estimate: LinkEstimate, now_s: float, message_bytes: float, within_s: float) -> float:
    """Probability that a frame sent now is answered within a time."""
    return float(estimate.weights @ (completion_s(estimate, now_s, message_bytes) <= now_s + within_s))


events = st.lists(
    st.tuples(
        st.sampled_from(["sent", "acknowledged", "abandoned", "withdrawn", "disconnected", "estimate"]),
        st.integers(0, 12),
        st.floats(0, 2),
        st.integers(1, 100_000),
        st.sampled_from([Route.EDGE, Route.CLOUD]),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(events)
def test_the_belief_sums_to_one_after_any_course_of_events(course: list[tuple[str, int, float, int, Route]]) -> None:
    uplink, now_s = UplinkEstimator(), 0.0
    sent: set[int] = set()
    for what, key, later_s, size, route in course:
        now_s += later_s
        if what == "sent" and key not in sent:
            uplink.sent(key, size, now_s, route)
            sent.add(key)
        elif what == "acknowledged":
            uplink.acknowledged(key, now_s, 0.001)
        elif what == "abandoned":
            uplink.abandoned(key, now_s)
        elif what == "withdrawn":
            uplink.withdrawn(key)
        elif what == "disconnected":
            uplink.disconnected(route, now_s)
        estimate = uplink.estimate(now_s)
        assert estimate.weights.sum() == pytest.approx(1.0)
        assert (estimate.weights >= 0).all()
        assert np.isfinite(estimate.weights).all()
        assert estimate.backlog_bytes >= 0
        assert 0 <= estimate.silent_s <= now_s


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20_000), max_size=8), st.integers(1, 20_000), st.integers(0, 20_000))
def test_more_bytes_never_arrive_earlier(queued: list[int], size: int, more: int) -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 1e6, [200] * 5)
    for number, waiting in enumerate(queued):
        uplink.sent(number, waiting, now_s, Route.EDGE)
        now_s += 0.02
    estimate = uplink.estimate(now_s)
    assert (completion_s(estimate, now_s, size + more) >= completion_s(estimate, now_s, size)).all()
    uplink.sent("another", size, now_s, Route.EDGE)
    behind = uplink.estimate(now_s)
    assert (behind.free_s >= estimate.free_s - 1e-9).all()


@pytest.mark.parametrize("rate_bps", [20e3, 100e3, 1e6, 8e6])
def test_the_rate_is_found_from_frames_that_take_a_while(rate_bps: float) -> None:
    uplink = UplinkEstimator()
    big = round(rate_bps * 0.04 / 8)
    now_s = serve(uplink, rate_bps, [big // 8, big, big // 2] * 6)
    estimate = uplink.estimate(now_s)
    near = (estimate.rates_bps > rate_bps / 2) & (estimate.rates_bps < rate_bps * 2.5)
    assert estimate.weights[near].sum() > 0.7


def test_the_base_round_trip_leaves_the_tier_out() -> None:
    uplink = UplinkEstimator()
    uplink.sent(1, 70, 0.0, Route.CLOUD)
    uplink.acknowledged(1, 0.5 + RTT_S, 0.5)
    assert uplink.estimate(1.0).base_rtt_s[Route.CLOUD] == pytest.approx(RTT_S)


def test_two_tiers_share_the_queue_but_not_the_round_trip() -> None:
    uplink = UplinkEstimator()
    for number in range(10):
        now_s = number * 0.1
        uplink.sent(("e", number), 100, now_s, Route.EDGE)
        uplink.acknowledged(("e", number), now_s + 0.012, 0.002)
        uplink.sent(("c", number), 100, now_s + 0.05, Route.CLOUD)
        uplink.acknowledged(("c", number), now_s + 0.05 + 0.082, 0.002)
    uplink.sent("edge's", 50_000, 1.0, Route.EDGE)
    estimate = uplink.estimate(1.0)
    assert estimate.base_rtt_s[Route.EDGE] == pytest.approx(0.01, abs=0.002)
    assert estimate.base_rtt_s[Route.CLOUD] == pytest.approx(0.08, abs=0.002)
    assert (estimate.free_s > 1.0).all()


def test_silence_lowers_the_chance_and_a_good_measurement_does_not_outlive_it() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 5e6, [200] * 20)
    before = chance(uplink.estimate(now_s), now_s, 200, 0.15)
    assert before > 0.97
    chances = {}
    for step in range(1, 21):
        if step <= 4:
            uplink.sent(step, 200, now_s, Route.EDGE)
        now_s += 0.1
        chances[step] = chance(uplink.estimate(now_s), now_s, 200, 0.15)
    assert chances[3] < 0.25
    assert all(chances[step + 1] <= chances[step] + 1e-3 for step in range(1, 20))
    assert chances[20] < 0.05


def test_expected_completion_grows_with_the_age_of_what_is_unanswered() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 5e6, [200] * 20)
    uplink.sent("stuck", 200, now_s, Route.EDGE)
    expected = []
    for age_s in (0.1, 0.2, 0.3, 0.5, 1.0):
        estimate = uplink.estimate(now_s + age_s)
        waits = np.minimum(completion_s(estimate, now_s + age_s, 200) - now_s - age_s, 1.0)
        expected.append(float(estimate.weights @ waits))
    assert expected == sorted(expected)
    assert expected[-1] > 0.8


def test_several_late_frames_in_one_queue_weigh_no_more_than_the_strongest() -> None:
    alone, crowd = UplinkEstimator(), UplinkEstimator()
    for uplink in (alone, crowd):
        now_s = serve(uplink, 5e6, [200] * 10)
        uplink.sent("first", 200, now_s, Route.EDGE)
    for number in range(10):
        crowd.sent(number, 1, now_s + 0.001, Route.EDGE)
    difference = crowd.estimate(now_s + 0.1).alive - alone.estimate(now_s + 0.1).alive
    assert abs(difference) < 0.02


def test_asking_for_an_estimate_changes_nothing() -> None:
    asked, unasked = UplinkEstimator(), UplinkEstimator()
    for uplink in (asked, unasked):
        now_s = serve(uplink, 1e6, [300] * 10)
        uplink.sent("late", 300, now_s, Route.EDGE)
    for step in range(50):
        asked.estimate(now_s + 0.01 * step)
    for uplink in (asked, unasked):
        uplink.acknowledged("late", now_s + 0.6, TIER_S)
    np.testing.assert_array_equal(asked.estimate(now_s + 0.7).weights, unasked.estimate(now_s + 0.7).weights)


def test_the_return_of_a_dead_link_is_seen_within_five_answers() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 5e6, [200] * 20)
    for number in range(25):
        uplink.sent(number, 70, now_s + 0.2 * number, Route.EDGE)
    now_s += 5.0
    assert uplink.estimate(now_s).alive < 0.1
    for number in range(5):
        uplink.acknowledged(number, now_s + 0.001 * number, 0.0)
    for number in range(5, 25):
        uplink.acknowledged(number, now_s + 0.001 * number, 0.0)
    now_s += 0.1
    assert chance(uplink.estimate(now_s), now_s, 200, 0.15) > 0.9


def test_an_answer_that_overtakes_clears_the_link_and_blames_the_tier() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 5e6, [200] * 10)
    uplink.sent("lost in the cloud", 200, now_s, Route.CLOUD)
    for _ in range(6):
        now_s = serve(uplink, 5e6, [200], now_s + 0.01)
    estimate = uplink.estimate(now_s)
    assert estimate.alive > 0.95
    assert estimate.unanswering == {Route.CLOUD}
    uplink.acknowledged("lost in the cloud", now_s, 0.0)
    assert not uplink.estimate(now_s).unanswering


def test_a_lost_session_takes_its_silence_with_it() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 5e6, [200] * 10)
    uplink.sent("gone", 200, now_s, Route.EDGE)
    assert uplink.estimate(now_s + 0.5).alive < 0.6
    uplink.disconnected(Route.EDGE, now_s + 0.5)
    estimate = uplink.estimate(now_s + 0.5)
    assert estimate.alive > 0.95
    assert estimate.silent_s == 0.0


def test_abandoned_frames_stay_in_the_queue_and_their_silence_stays_evidence() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 100e3, [500] * 10)
    uplink.sent("big", 5000, now_s, Route.EDGE)
    uplink.abandoned("big", now_s + 0.2)
    estimate = uplink.estimate(now_s + 0.2)
    assert estimate.backlog_bytes == 5000
    uplink.withdrawn("big")
    assert uplink.estimate(now_s + 0.2).backlog_bytes == 0


def test_what_is_remembered_of_a_long_outage_is_bounded() -> None:
    uplink = UplinkEstimator()
    now_s = serve(uplink, 5e6, [200] * 10)
    for number in range(10 * MAX_TRACKED):
        uplink.sent(number, 70, now_s + 0.2 * number, Route.EDGE)
    end_s = now_s + 0.2 * 10 * MAX_TRACKED
    estimate = uplink.estimate(end_s)
    assert estimate.backlog_bytes == pytest.approx(70 * 10 * MAX_TRACKED)
    assert estimate.silent_s == pytest.approx(end_s - now_s)
    assert estimate.alive < 0.2


def test_arrays_of_an_estimate_are_read_only() -> None:
    estimate = UplinkEstimator().estimate(0.0)
    for array in (estimate.rates_bps, estimate.weights, estimate.free_s):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_a_belief_advanced_in_steps_equals_one_advanced_at_once_and_settles_at_the_usual() -> None:
    chain = RateChain(RateSettings())
    start = np.zeros(chain.rates_bps.size)
    start[20] = 1.0
    stepped = start
    for _ in range(7):
        stepped = chain.advance(stepped, 0.3)
    np.testing.assert_allclose(stepped, chain.advance(start, 2.1), atol=1e-9)
    np.testing.assert_allclose(chain.advance(start, 1e5), chain.stationary, atol=1e-6)


def test_the_walk_spreads_as_declared() -> None:
    chain = RateChain(
        RateSettings(walk=0.9, jumps_per_s=1e-9, outages_per_s=1e-9, returns_per_s=1.0, usual_spread=50.0)
    )
    start = np.zeros(chain.rates_bps.size)
    start[24] = 1.0
    later = chain.advance(start, 0.5)[1:]
    logs = np.log(chain.rates_bps[1:])
    mean = later @ logs
    assert np.sqrt(later @ (logs - mean) ** 2) == pytest.approx(0.9 * np.sqrt(0.5), rel=0.05)


def test_an_impossible_grid_is_refused() -> None:
    with pytest.raises(InvalidValue, match="no grid"):
        RateSettings(low_bps=5e6, high_bps=1e6)
