"""What the policies choose from given snapshots."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from adaptation.arrays import read_only
from adaptation.errors import InvalidValue, UnknownPolicy
from adaptation.goal import Goal
from adaptation.link import UplinkEstimator
from adaptation.plan import CLOG_S, Choice, Option, Plan, Route
from adaptation.policies import DeadlinePolicy, FixedPolicy, policy_named
from adaptation.policies.rescue import decide_again, remaining
from adaptation.snapshot import KeptFrame, LinkEstimate, Snapshot, TierState
from adaptation.worth import worth
from tests.adaptation.plans import EXIT, TIERS, WHOLE, builtin_plan

PLAN = builtin_plan(Route.EDGE, Route.CLOUD)
POLICY = DeadlinePolicy()


def certain(rate_bps: float, *, free_s: float = 0.0, rtt_s: float = 0.04) -> LinkEstimate:
    """A link of which everything is known."""
    return LinkEstimate(
        rates_bps=read_only([1.0, rate_bps]),
        weights=read_only([0.0, 1.0]),
        free_s=read_only([free_s, free_s]),
        backlog_bytes=0.0,
        base_rtt_s={Route.EDGE: rtt_s, Route.CLOUD: rtt_s + 0.03, Route.EDGE_TO_CLOUD: rtt_s + 0.02},
        jitter_s=dict.fromkeys(Route, 0.003),
    )


def snapshot(uplink: LinkEstimate | None, **changes: object) -> Snapshot:
    """A frame captured now, at 10 s, on an idle device."""
    usual = Snapshot(10.0, 10.25, 10.0, PLAN, uplink, TIERS, None, 10.0, 0.1)
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_a_fast_link_gets_the_shallowest_cut_at_the_best_level() -> None:
    decision = POLICY.decide(snapshot(certain(5e6)))
    assert decision.choice == Choice(1, 3, Route.EDGE)
    assert decision.in_time > 0.99
    assert decision.expected_s == pytest.approx(0.03 + 470 * 8 / 5e6 + 0.044)


def test_a_thinner_link_gets_fewer_bytes() -> None:
    sizes = []
    for rate_bps in (5e6, 100e3, 40e3, 15e3):
        choice = POLICY.decide(snapshot(certain(rate_bps))).choice
        assert choice is not None
        option = PLAN.find(choice)
        assert option is not None
        sizes.append(option.message_bytes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 2


def test_without_a_link_the_device_answers_by_its_exit() -> None:
    for tiers, uplink in (({}, certain(5e6)), ({Route.EDGE: TierState(False)}, certain(5e6)), (TIERS, None)):
        decision = POLICY.decide(snapshot(uplink, tiers=tiers))
        assert decision.choice == EXIT
    assert POLICY.decide(snapshot(certain(5e6), tiers={})).reason == "no tier is reachable"


def test_the_other_tier_is_used_when_one_is_unreachable_overloaded_or_silent() -> None:
    gone = {Route.EDGE: TierState(False), Route.CLOUD: TierState(True)}
    busy = {Route.EDGE: TierState(True, wait_s=0.3), Route.CLOUD: TierState(True)}
    mute = replace(certain(5e6), unanswering=frozenset({Route.EDGE}))
    for decision in (
        POLICY.decide(snapshot(certain(5e6), tiers=gone)),
        POLICY.decide(snapshot(certain(5e6), tiers=busy)),
        POLICY.decide(snapshot(mute)),
    ):
        assert decision.choice is not None
        assert decision.choice.route is Route.CLOUD


def test_a_measured_round_trip_of_the_tier_goes_before_the_links() -> None:
    tiers = {Route.EDGE: TierState(True, base_rtt_s=0.2), Route.CLOUD: TierState(True, base_rtt_s=0.01)}
    choice = POLICY.decide(snapshot(certain(5e6), tiers=tiers)).choice
    assert choice is not None
    assert choice.route is Route.CLOUD


def test_bytes_already_queued_turn_the_choice() -> None:
    assert POLICY.decide(snapshot(certain(5e6, free_s=10.5))).choice == EXIT


def test_a_frame_that_must_come_too_late_is_given_up_with_the_reason() -> None:
    dead = certain(1.5)
    for late, reason in (
        (snapshot(dead, device_free_s=10.2), "no option can answer"),
        (snapshot(dead, device_free_s=10.3), "busy for 300 ms"),
        (snapshot(certain(5e6), deadline_s=9.9, captured_s=9.0), "deadline has passed"),
    ):
        decision = POLICY.decide(late)
        assert decision.choice is None
        assert reason in decision.reason


def test_a_small_chance_is_taken_when_there_is_no_better() -> None:
    hopeful = replace(certain(5e6), weights=read_only([0.9, 0.1]), free_s=read_only([10.0, 10.0]))
    decision = POLICY.decide(snapshot(hopeful, device_free_s=10.15))
    assert decision.choice is not None
    assert decision.choice.remote
    assert decision.in_time == pytest.approx(0.1, abs=0.01)
    assert "best chance" in decision.reason


def test_the_previous_choice_stays_within_the_margin_and_goes_beyond_it() -> None:
    now = snapshot(certain(5e6))
    values = worth(now, Goal())
    best = values.best()
    near, far = Choice(1, 2, Route.EDGE), Choice(2, 0, Route.EDGE)
    for previous, margin in ((near, 0.01), (far, 0.01)):
        gap = float(values.utility[best] - values.utility[PLAN.columns.positions[previous]])
        stays = gap < margin * abs(float(values.utility[PLAN.columns.positions[previous]]))
        expected = previous if stays else PLAN[best].choice
        assert POLICY.decide(replace(now, previous=previous)).choice == expected
    assert POLICY.decide(replace(now, previous=near)).choice == near
    assert POLICY.decide(replace(now, previous=far)).choice == PLAN[best].choice


def test_a_previous_choice_that_became_impossible_is_left() -> None:
    eager = DeadlinePolicy(Goal(margin=1.0))
    assert eager.decide(snapshot(certain(5e6), previous=EXIT)).choice == EXIT
    assert eager.decide(snapshot(certain(5e6), previous=EXIT, device_free_s=10.14)).choice != EXIT
    gone = {Route.EDGE: TierState(False), Route.CLOUD: TierState(True)}
    choice = eager.decide(snapshot(certain(5e6), previous=Choice(1, 3, Route.EDGE), tiers=gone)).choice
    assert choice is not None
    assert choice.route is Route.CLOUD
    assert eager.decide(snapshot(certain(5e6), previous=Choice(9, 9, Route.EDGE))).choice is not None


def test_a_large_message_is_sent_where_the_link_is_surely_fast_and_not_where_it_may_be_thin() -> None:
    raw, small = Choice(0, 9, Route.EDGE), Choice(3, 0, Route.EDGE)
    plan = Plan((Option(raw, 0.001, 49152, 60, 0.004, 0.97), Option(small, 0.06, 60, 60, 0.004, 0.94)))
    rates = read_only([1.0, 24e3, 20e6])
    for thin, expected in ((0.0, raw), (0.03, small)):
        link = replace(
            certain(20e6), rates_bps=rates, weights=read_only([0.0, thin, 1.0 - thin]), free_s=read_only([10.0] * 3)
        )
        decided = POLICY.decide(replace(snapshot(link), plan=plan, interval_s=0.1))
        assert decided.choice == expected
        careless = DeadlinePolicy(Goal(link_weight=0.0))
        assert careless.decide(replace(snapshot(link), plan=plan, interval_s=0.1)).choice == raw


def test_half_a_point_of_accuracy_weighs_as_much_as_about_twenty_milliseconds() -> None:
    for slower_s, wins in ((0.012, True), (0.025, False)):
        plan = Plan((Option(EXIT, 0.05, 0, 0, 0, 0.95), Option(WHOLE, 0.05 + slower_s, 0, 0, 0, 0.955)))
        assert (POLICY.decide(snapshot(None, plan=plan)).choice == WHOLE) is wins


def test_worth_equals_a_plain_loop_over_options_and_rates() -> None:
    uplink = UplinkEstimator()
    for number in range(8):
        uplink.sent(number, 300, 9 + number * 0.1, Route.EDGE)
        if number < 6:
            uplink.acknowledged(number, 9.06 + number * 0.1, 0.004)
    tiers = {Route.EDGE: TierState(True, wait_s=0.01), Route.CLOUD: TierState(True, base_rtt_s=0.08)}
    now = snapshot(
        uplink.estimate(10.0), tiers=tiers, device_free_s=10.02, captured_s=9.98, deadline_s=10.23, spent_s=0.01
    )
    goal = Goal(curiosity=0.0)
    values = worth(now, goal)
    link = now.uplink
    assert link is not None

    def tail(slack: float) -> float:
        return 0.5 + 0.5 * slack / float(np.sqrt(2 + slack * slack))

    for place, option in enumerate(PLAN):
        ready = 10.02 + option.device_s
        if option.choice.route is Route.DEVICE:
            chance, expected = tail((10.23 - ready) / goal.device_jitter_s), min(ready, 10.23) - 10.0
        else:
            base = 0.08 if option.choice.route is Route.CLOUD else link.base_rtt_s[Route.EDGE] + 0.01
            scale = link.jitter_s.get(option.choice.route, 0.005)
            chance = expected = 0.0
            for rate, weight, free in zip(link.rates_bps, link.weights, link.free_s, strict=True):
                done = max(ready, free) + option.message_bytes * 8 / rate + base + option.tier_s
                chance += weight * tail((10.23 - done) / scale)
                expected += weight * (min(done, 10.23) - 10.0)
        utility = option.accuracy * chance - goal.latency_weight * (expected + 0.02) / 0.25
        utility -= goal.device_weight * max((option.device_s + 0.01) / 0.1 - 1, 0)
        if option.choice.remote:
            over = [min(max(option.message_bytes * 8 / rate - 0.1, 0.0), CLOG_S) / 0.1 for rate in link.rates_bps]
            utility -= goal.link_weight * sum(one * of for one, of in zip(over[1:], link.weights[1:], strict=True))
        assert values.in_time[place] == pytest.approx(chance, abs=1e-9)
        assert values.expected_s[place] == pytest.approx(expected, abs=1e-9)
        assert values.utility[place] == pytest.approx(utility, abs=1e-9)


def test_an_answer_that_tells_the_rate_is_worth_what_knowing_it_would_gain() -> None:
    """Half of the time 0.95 could be had instead of 0.9: knowing when gains 0.025, and half of the answers tell it."""
    plan = Plan((Option(WHOLE, 0.05, 0, 0, 0, 0.9), Option(Choice(1, 0, Route.EDGE), 0.01, 2500, 60, 0.0, 0.95)))
    link = replace(
        certain(20e6),
        rates_bps=read_only([1.0, 2e4, 20e6]), weights=read_only([0.0, 0.5, 0.5]), free_s=read_only([10.0] * 3),
    )  # fmt: skip
    now = replace(snapshot(link), plan=plan)
    gained = worth(now, Goal(curiosity=1.0)).utility - worth(now, Goal(curiosity=0.0)).utility
    assert gained[0] == 0.0
    assert gained[1] == pytest.approx(0.5 * (0.5 * 0.95 + 0.5 * 0.9 - 0.9), rel=0.03)
    sure = replace(now, uplink=certain(20e6))
    assert worth(sure, Goal(curiosity=1.0)).utility == pytest.approx(worth(sure, Goal(curiosity=0.0)).utility, abs=1e-6)


def test_deciding_is_pure() -> None:
    uplink = UplinkEstimator()
    uplink.sent(1, 300, 9.9, Route.EDGE)
    now = snapshot(uplink.estimate(10.0))
    assert now.uplink is not None
    before = [np.copy(now.uplink.weights), np.copy(now.uplink.free_s)]
    shown = copy.deepcopy(repr(now))
    decisions = {POLICY.decide(now) for _ in range(5)}
    assert len(decisions) == 1
    assert repr(now) == shown
    np.testing.assert_array_equal(before[0], now.uplink.weights)
    np.testing.assert_array_equal(before[1], now.uplink.free_s)


def test_fixed_never_changes_its_mind() -> None:
    choice = Choice(0, 1, Route.CLOUD)
    policy = policy_named("fixed", {"cut": 0, "level": 1, "route": "cloud"})
    assert policy == FixedPolicy(choice)
    assert policy.decide(snapshot(certain(5e6))).choice == choice
    late = policy.decide(snapshot(certain(3e3)))
    assert late.choice == choice
    assert late.in_time < 0.01
    assert policy.decide(snapshot(certain(5e6), tiers={})).reason == "cloud is unreachable"
    assert policy_named("fixed", {"cut": 5, "route": "device"}).decide(snapshot(None)).choice == WHOLE
    assert policy_named("fixed", {"cut": 7, "route": "device"}).decide(snapshot(None)).choice is None
    passed = policy_named("fixed", {"cut": 1, "level": 0, "route": "edge_to_cloud", "handover": [3, 1]})
    assert passed == FixedPolicy(Choice(1, 0, Route.EDGE_TO_CLOUD, (3, 1)))


@pytest.mark.parametrize(
    ("name", "parameters", "error", "says"),
    [
        ("deadlin", {}, UnknownPolicy, "did you mean 'deadline'"),
        ("deadline", {"latency_wieght": 0.1}, UnknownPolicy, "did you mean 'latency_weight'"),
        ("deadline", {"latency_weight": -1}, InvalidValue, "latency_weight is -1"),
        ("deadline", {"margin": "much"}, InvalidValue, "margin is 'much'"),
        ("fixed", {}, UnknownPolicy, "needs `cut`"),
        ("fixed", {"cut": 1, "route": "moon", "level": 0}, InvalidValue, "route is 'moon'"),
        ("fixed", {"cut": 1, "route": "edge"}, InvalidValue, "level is None"),
        ("fixed", {"cut": 1, "route": "device", "level": 2}, InvalidValue, "level is 2"),
        ("fixed", {"cut": 1, "route": "edge", "level": 2, "handover": [1, 2]}, InvalidValue, "handover"),
    ],
)
def test_a_wrong_setting_is_named(name: str, parameters: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        policy_named(name, parameters)


def test_impossible_plans_are_refused() -> None:
    option = Option(EXIT, 0.1, 0, 0, 0, 0.9)
    with pytest.raises(InvalidValue, match="no options"):
        Plan(())
    with pytest.raises(InvalidValue, match="twice"):
        Plan((option, option))
    with pytest.raises(InvalidValue, match="accuracy"):
        replace(option, accuracy=1.5)
    with pytest.raises(InvalidValue, match="device_s"):
        replace(option, device_s=float("nan"))
    with pytest.raises(InvalidValue, match="names no level"):
        Option(Choice(1, None, Route.EDGE), 0.1, 10, 0, 0, 0.9)


KEPT = KeptFrame(Choice(2, 3, Route.EDGE), message_bytes=337, head_s=0.06)


def test_a_broken_frame_goes_to_the_other_tier_if_that_is_in_time() -> None:
    gone = {Route.EDGE: TierState(False), Route.CLOUD: TierState(True)}
    decision = decide_again(snapshot(certain(5e6), tiers=gone, captured_s=9.9, deadline_s=10.15), KEPT)
    assert decision.choice == Choice(2, 3, Route.CLOUD)
    assert decision.expected_s == pytest.approx(337 * 8 / 5e6 + 0.074)


def test_a_broken_frame_goes_on_locally_if_nothing_else_is_in_time() -> None:
    late = snapshot(certain(5e6), tiers={}, captured_s=9.93, deadline_s=10.07)
    decision = decide_again(late, KEPT)
    assert decision.choice == EXIT
    assert decision.expected_s == pytest.approx(0.055)
    failed_everywhere = replace(KEPT, failed=frozenset({Route.CLOUD}))
    assert decide_again(replace(late, tiers=TIERS), failed_everywhere).choice == EXIT


def test_a_broken_frame_ends_with_a_reason_if_it_is_too_late_for_everything() -> None:
    decision = decide_again(snapshot(certain(5e6), captured_s=9.8, deadline_s=10.05), KEPT)
    assert decision.choice is None
    assert "no option can answer" in decision.reason


def test_what_is_left_of_a_frame_saves_its_head_and_never_goes_back() -> None:
    deep = KeptFrame(Choice(4, 0, Route.EDGE), message_bytes=95, head_s=0.11)
    options = remaining(PLAN, deep)
    assert [option.choice for option in options] == [WHOLE, Choice(4, 0, Route.CLOUD)]
    assert options[0].device_s == pytest.approx(0.09)
    assert (options[1].device_s, options[1].message_bytes) == (0.0, 95)
    assert decide_again(snapshot(certain(5e6)), replace(deep, choice=Choice(6, 0, Route.EDGE))).choice is None


def test_when_the_head_is_done_a_frame_is_sent_as_the_link_is_then() -> None:
    """Decided for a fast link; while the head ran it became too thin for that level, then for all of them."""
    small, large, early = Choice(2, 0, Route.EDGE), Choice(2, 1, Route.EDGE), Choice(1, None, Route.DEVICE)
    plan = Plan((
        Option(WHOLE, 0.1, 0, 0, 0, 0.8), Option(early, 0.03, 0, 0, 0, 0.6),
        Option(small, 0.06, 300, 60, 0.002, 0.9), Option(large, 0.06, 9000, 60, 0.002, 0.95),
    ))  # fmt: skip
    policy = DeadlinePolicy(Goal(latency_weight=0.0))
    for rate_bps, expected in ((5e6, large), (1e5, small), (5e3, WHOLE)):
        assert policy.on_sending(replace(snapshot(certain(rate_bps)), plan=plan), large) == expected
    gone = replace(snapshot(certain(5e6), tiers={}), plan=plan)
    assert policy.on_sending(gone, large) == WHOLE
    assert policy.on_sending(replace(gone, deadline_s=gone.now_s + 0.035), large) == early


def test_going_on_alone_costs_the_frames_that_come_while_head_and_rest_are_computed() -> None:
    """A head of 100 ms and 80 ms more: alone the rest is shorter than frames are apart, with the head it is not."""
    sent = Choice(4, 0, Route.EDGE)
    plan = Plan((Option(WHOLE, 0.18, 0, 0, 0, 0.8), Option(sent, 0.1, 300, 60, 0.002, 0.75)))
    policy = DeadlinePolicy(Goal(latency_weight=0.0))
    for interval_s, expected in ((0.1, sent), (0.15, sent), (0.18, WHOLE)):
        now = snapshot(certain(5e6), plan=plan, interval_s=interval_s, deadline_s=10.4)
        assert policy.on_sending(now, sent) == expected


def test_what_is_left_of_a_plan_behind_a_cut() -> None:
    at_two, early = Choice(2, 0, Route.EDGE), Choice(1, None, Route.DEVICE)
    plan = Plan((
        Option(WHOLE, 0.1, 0, 0, 0, 0.8), Option(early, 0.03, 0, 0, 0, 0.6),
        Option(at_two, 0.06, 300, 60, 0.002, 0.9, head_s=0.05),
        Option(Choice(1, 0, Route.EDGE), 0.02, 900, 60, 0.002, 0.9),
    ))  # fmt: skip
    rest = plan.rest(2)
    assert {one.choice: pytest.approx(one.device_s) for one in rest} == {at_two: 0.01, WHOLE: 0.05, early: 0.03}
    assert plan.rest(2) is rest
