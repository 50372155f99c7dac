"""When a local continuation begins, what it is worth, and what a frame whose bytes were taken back leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptation.arrays import read_only
from adaptation.errors import InvalidValue
from adaptation.goal import Goal
from adaptation.hedging import Hedging, chance_in_time, due_hedge, front_to_send, latest_start_s, wake_s
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Route
from adaptation.policies import DeadlinePolicy, policy_named
from adaptation.snapshot import InFlight
from adaptation.worth import worth
from tests.adaptation.plans import EXIT, WHOLE, builtin_plan
from tests.adaptation.test_link import serve
from tests.adaptation.test_policies import certain, snapshot

PLAN = builtin_plan()
SENT = Choice(1, 3, Route.EDGE)
HEDGING = Hedging()
OWN = PLAN.find(EXIT)
assert OWN is not None


def silent_link(sent_s: float = 10.0) -> UplinkEstimator:
    """A good link on which frame 1 was sent and has no answer."""
    uplink = UplinkEstimator()
    serve(uplink, 5e6, [200] * 20, 7.9)
    uplink.sent(1, 370, sent_s, Route.EDGE)
    return uplink


def flight(**changes: object) -> InFlight:
    return replace(InFlight(1, SENT, 10.0, 10.25, 0.03), **changes)  # type: ignore[arg-type]


def hedge_at(now_s: float, until_s: float, uplink: UplinkEstimator | None = None) -> Choice | None:
    link = (uplink or silent_link()).estimate(now_s)
    found = due_hedge(link, PLAN, [flight()], HEDGING, now_s=now_s, until_s=until_s, interval_s=0.1)
    return None if found is None else found.choice


def test_the_chance_of_an_answer_falls_with_its_silence_and_ends_at_the_deadline() -> None:
    uplink = silent_link()
    chances = [chance_in_time(uplink.estimate(10 + age), flight(), 0.004, 10 + age) for age in (0.01, 0.08, 0.15, 0.24)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.95
    assert chances[-1] < 0.3
    assert chance_in_time(uplink.estimate(10.3), flight(), 0.004, 10.3) == 0.0
    assert chance_in_time(uplink.estimate(10.1), flight(awaited=False), 0.004, 10.1) == 0.0


def test_a_continuation_begins_at_the_last_moment_that_ends_in_time() -> None:
    last_s = latest_start_s(OWN, flight(), HEDGING)
    assert last_s == pytest.approx(10.25 - 0.004 - (0.115 - 0.03))
    assert wake_s(PLAN, [flight()], HEDGING, 10.1) == pytest.approx(last_s)
    assert wake_s(PLAN, [flight()], HEDGING, last_s + 0.001) is None
    assert hedge_at(last_s - 0.02, last_s - 0.01) is None  # it can wait
    assert hedge_at(last_s - 0.02, last_s + 0.01) == EXIT  # the device would be busy at that moment
    assert hedge_at(last_s + 0.001, last_s + 0.01) is None  # too late


def test_an_exit_behind_the_cut_is_had_from_the_input_only() -> None:
    assert OWN.after_s(cut=4, head_s=0.12) == OWN.device_s
    assert OWN.after_s(cut=1, head_s=0.03) == pytest.approx(0.085)


def test_what_a_continuation_saves_makes_a_doubtful_option_worth_its_risk() -> None:
    doubtful = snapshot(certain(1.5), plan=PLAN)
    place = PLAN.columns.positions[SENT]
    with_, without = (float(worth(doubtful, Goal(), hedging).utility[place]) for hedging in (HEDGING, None))
    assert with_ > without + 0.5
    dear = float(worth(doubtful, Goal(), Hedging(price=50.0)).utility[place])
    assert dear == pytest.approx(without)


def test_a_hedge_goes_before_a_head_that_would_run_past_its_last_moment() -> None:
    uplink = silent_link()
    now_s = latest_start_s(OWN, flight(), HEDGING) - 0.001
    now = snapshot(
        uplink.estimate(now_s), plan=PLAN, now_s=now_s, device_free_s=now_s, captured_s=10.1, deadline_s=10.6,
        in_flight=(flight(),),
    )  # fmt: skip
    decision = DeadlinePolicy(Goal(), HEDGING).decide(now)
    assert decision.first is not None
    assert decision.first.key == 1
    assert DeadlinePolicy(Goal(), HEDGING).decide(replace(now, in_flight=())).first is None
    assert DeadlinePolicy().decide(now).first is None


def test_a_finished_answer_waits_only_if_the_remote_one_is_worth_it() -> None:
    remote, own = PLAN.find(SENT), PLAN.find(EXIT)
    assert remote is not None
    assert own is not None
    patient, hasty = DeadlinePolicy(Goal(latency_weight=0.0)), DeadlinePolicy(Goal(latency_weight=1.0))
    assert patient.waits(0.5, remote, own, 0.1, 0.25)
    assert not patient.waits(0.0, remote, own, 0.1, 0.25)
    assert not hasty.waits(0.5, remote, own, 0.1, 0.25)
    whole = PLAN.find(WHOLE)
    assert whole is not None
    assert not patient.waits(0.5, own, whole, 0.1, 0.25)


def test_bytes_taken_back_leave_the_queue_but_their_silence_stays() -> None:
    taken_back, forgotten = silent_link(), silent_link()
    taken_back.cancelled(1, 10.3, 100.0)
    forgotten.withdrawn(1)
    assert taken_back.estimate(10.3).alive < forgotten.estimate(10.3).alive
    assert taken_back.estimate(10.3).backlog_bytes <= 100.0
    queued = silent_link()
    queued.abandoned(1, 10.3)
    assert (taken_back.estimate(10.3).free_s <= queued.estimate(10.3).free_s).all()


def test_a_tier_cannot_claim_more_time_than_has_passed() -> None:
    honest, lying = UplinkEstimator(), UplinkEstimator()
    for uplink, tier_s in ((honest, 0.0), (lying, 1e9)):
        uplink.sent(1, 300, 0.0, Route.EDGE)
        uplink.acknowledged(1, 0.05, tier_s)
    assert 0.0 <= lying.estimate(0.1).base_rtt_s[Route.EDGE] <= honest.estimate(0.1).base_rtt_s[Route.EDGE]


def test_an_embedded_payload_is_cut_short_when_the_link_has_become_too_thin_for_the_whole() -> None:
    """At 16 kbit/s a front of what was just sent still comes in time, the whole does not."""
    sent = PLAN.find(SENT)
    assert sent is not None
    leaves_s = read_only([[1e9, 10.0 + 8.0 * sent.message_bytes / 1.6e4]])
    believed = replace(certain(1.6e4), flights=(1,), leaves_s=leaves_s)
    front = front_to_send(believed, PLAN, flight(), 10.0, 0.0)
    assert front is not None
    assert (front.choice.cut, front.choice.route) == (SENT.cut, SENT.route)
    assert front.message_bytes < sent.message_bytes
    fewer = sent.message_bytes - front.message_bytes
    whole = chance_in_time(believed, flight(), sent.tier_s, 10.0)
    assert chance_in_time(believed, flight(), sent.tier_s, 10.0, fewer_bytes=fewer) > 1.5 * whole
    assert front_to_send(believed, PLAN, flight(), 10.0, sent.message_bytes - 1.0) is None
    assert front_to_send(silent_link().estimate(10.0), PLAN, flight(), 10.0, 0.0) is None


def test_what_was_cut_short_makes_room_for_what_follows() -> None:
    uplink = UplinkEstimator()
    serve(uplink, 5e4, [100] * 40, 6.0)
    uplink.sent(1, 2000, 10.0, Route.EDGE)
    before = uplink.estimate(10.0)
    uplink.shortened(1, 300)
    after = uplink.estimate(10.0)
    place = int(after.weights.argmax())
    assert before.free_s[place] - after.free_s[place] == pytest.approx(1700 * 8 / after.rates_bps[place])


def test_a_device_that_answers_alone_tries_no_tier_that_is_unlikely_to_answer() -> None:
    policy, alone = DeadlinePolicy(Goal(), HEDGING), snapshot(certain(4e3), previous=EXIT)
    assert policy.decide(alone).choice == EXIT
    back = policy.decide(snapshot(certain(5e6), previous=EXIT)).choice
    assert back is not None
    assert back.remote


def test_settings_outside_their_range_are_refused() -> None:
    with pytest.raises(InvalidValue, match="guard_s"):
        Hedging(guard_s=-1.0)
    assert policy_named("deadline", {"hedge": True, "price": 0.1}) == DeadlinePolicy(Goal(), Hedging(price=0.1))
