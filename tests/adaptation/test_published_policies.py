"""The published rules do what their papers say, on snapshots where that can be worked out by hand."""

from __future__ import annotations

import pytest

from adaptation.decision import ExitFirst
from adaptation.errors import InvalidValue
from adaptation.plan import Choice, Route
from adaptation.policies import policy_named
from adaptation.policies.uploads import GUESS_BPS, rates_bps
from adaptation.snapshot import Past
from tests.adaptation.plans import EXIT
from tests.adaptation.test_policies import PLAN, certain, snapshot

NAMES = ("empirical", "ewma", "harmonic", "linucb", "neurosurgeon", "spinn")
SENT = Choice(1, 3, Route.EDGE)


def uploads(*rates: float, ended_s: float = 9.9) -> tuple[Past, ...]:
    """Finished uploads of 1000 bytes at these rates, over a round trip of 40 ms."""
    return tuple(Past(SENT, 1000.0, ended_s - 0.04 - 8000.0 / rate, ended_s, True, True) for rate in rates)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_pure_function_that_uses_a_fast_link_and_leaves_an_unreachable_tier(name: str) -> None:
    policy = policy_named(name)
    fast = snapshot(certain(5e6), recent=uploads(5e6, 5e6, 5e6))
    decisions = {policy.decide(fast) for _ in range(3)}
    assert len(decisions) == 1
    if name != "linucb":
        choice = decisions.pop().choice
        assert choice is not None
        assert choice.remote
    alone = policy.decide(snapshot(certain(5e6), tiers={}, recent=uploads(5e6))).choice
    assert alone is not None
    assert not alone.remote


def test_rates_are_bytes_over_the_time_beyond_the_round_trip() -> None:
    seen = snapshot(certain(5e6), recent=uploads(1e5, 4e5))
    assert rates_bps(seen, 5) == pytest.approx([1e5, 4e5])
    assert rates_bps(snapshot(certain(5e6), recent=uploads(1e5, ended_s=2.0)), 5) == pytest.approx([GUESS_BPS])


def test_the_means_are_those_of_their_names() -> None:
    mixed = snapshot(certain(5e6), recent=uploads(1e5, 4e5))
    harmonic = policy_named("harmonic", {"safety": 1.0}).decide(mixed)
    option = PLAN.find(harmonic.choice) if harmonic.choice else None
    assert option is not None
    assert harmonic.expected_s == pytest.approx(option.device_s + 8 * option.message_bytes / 1.6e5 + 0.044)
    ewma = policy_named("ewma", {"weight": 0.5}).decide(mixed)
    option = PLAN.find(ewma.choice) if ewma.choice else None
    assert option is not None
    assert ewma.expected_s == pytest.approx(option.device_s + 8 * option.message_bytes / 3e5 + 0.044)


def test_neurosurgeon_takes_the_least_latency_and_no_look_at_accuracy() -> None:
    slow = snapshot(certain(5e6), recent=uploads(3e3))
    assert policy_named("neurosurgeon").decide(slow).choice == EXIT


def test_the_bandit_leaves_what_never_answers() -> None:
    failed = tuple(Past(SENT, 500.0, 9.0, 9.3, False, False) for _ in range(40))
    good = tuple(Past(EXIT, 0.0, 9.0, 9.1, True, True) for _ in range(20))
    assert policy_named("linucb", {"width": 0.0}).decide(snapshot(certain(5e6), recent=failed + good)).choice != SENT


def test_spinn_asks_the_exit_on_the_way_and_expects_more_time_where_few_frames_exit() -> None:
    spinn = policy_named("spinn", {"threshold": 0.9})
    exits = tuple(Past(EXIT, 0.0, 9.0, 9.1, True, True, confidence=0.95) for _ in range(40))
    goes_on = tuple(Past(Choice(3, 3, Route.EDGE), 500.0, 9.0, 9.2, True, True) for _ in range(40))
    sure = spinn.decide(snapshot(certain(2e5), recent=exits))
    assert sure.exit_first == ExitFirst(EXIT.cut, 0.9)
    assert sure.choice is not None
    assert sure.choice.remote
    assert sure.choice.cut >= EXIT.cut
    unsure = spinn.decide(snapshot(certain(2e5), recent=goes_on))
    assert unsure.exit_first == sure.exit_first
    assert unsure.expected_s > sure.expected_s


def test_spinn_answers_alone_where_nothing_fits_the_link() -> None:
    decision = policy_named("spinn").decide(snapshot(certain(5e6), recent=uploads(2e3, 2e3, 2e3)))
    assert decision.choice is not None
    assert not decision.choice.remote
    assert decision.exit_first is None


def test_parameters_outside_their_range_are_refused() -> None:
    with pytest.raises(InvalidValue, match="safety"):
        policy_named("harmonic", {"safety": 2.0})
