"""More work than can be done, in simulated time: what is answered, who is, and who is not harmed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from serving.scheduling.batching import Least, Static
from serving.scheduling.jobs import Path
from serving.scheduling.replay import Arrival, Outcome, Replay, TrueCost
from serving.scheduling.scheduler import Scheduler
from tests.serving.scheduling.workloads import SHARED, UNSHARED, affine, cuts, in_time, knowing, p99_s, poisson

PATIENCE_S = 0.1
SETTLED_S = 1.0
"""The tier has to see the first refusals to know that there is not enough for all."""
COSTS = {"batches share": (SHARED, 0.0013), "batches share nothing": (UNSHARED, 0.004)}
"""What steps cost, and about what a frame costs with as many beside it as its patience allows."""


def ran(
    cost: TrueCost, loads: dict[str, float], *, seconds: float = 1.5, weights: dict[str, float] | None = None
) -> tuple[Scheduler, Sequence[Outcome]]:
    """Frames of senders at their rates per second, all from cut 0; outcomes of those that came once settled."""
    generator, path = random.Random(5), cuts()[0]
    frames = [
        frame
        for sender, rate in loads.items()
        for frame in poisson(sender, path, rate, SETTLED_S + seconds, PATIENCE_S, generator)
    ]
    scheduler = knowing(Scheduler(weights=weights), [path], cost)
    outcomes = Replay(scheduler, cost).run(frames)
    return scheduler, [outcome for outcome in outcomes if outcome.arrival.at_s > SETTLED_S]


def equals(count: int, load: float) -> dict[str, float]:
    return {f"device {n}": load / count for n in range(count)}


@pytest.mark.parametrize("kind", COSTS)
def test_at_three_times_what_can_be_done_as_much_is_answered_as_at_the_peak(kind: str) -> None:
    cost, each_s = COSTS[kind]
    answered = {}
    for load in (1.0, 3.0):
        _, outcomes = ran(cost, equals(20, load / each_s))
        answered[load] = in_time(outcomes)
        late = sum(outcome.answered and not outcome.in_time for outcome in outcomes)
        assert late <= 0.01 * len(outcomes)
    assert answered[3.0] >= 0.9 * answered[1.0]


@pytest.mark.parametrize("kind", COSTS)
def test_equal_senders_get_equal_shares_of_too_little(kind: str) -> None:
    cost, each_s = COSTS[kind]
    _, outcomes = ran(cost, equals(20, 3 / each_s))
    got = [in_time(outcomes, f"device {n}") for n in range(20)]
    assert sum(got) ** 2 / (len(got) * sum(one * one for one in got)) >= 0.98  # Jain's index


@pytest.mark.parametrize("kind", COSTS)
def test_one_greedy_sender_hardly_delays_twenty_modest_ones(kind: str) -> None:
    cost, each_s = COSTS[kind]
    modest = equals(20, 0.5 / each_s)
    _, alone = ran(cost, modest, seconds=3.0)
    _, beside = ran(cost, modest | {"greedy": 20 / 21 / each_s}, seconds=3.0)
    others = [outcome for outcome in beside if outcome.arrival.sender != "greedy"]
    assert in_time(others) >= 0.99 * len(others)
    assert p99_s(others) <= 1.3 * p99_s(alone)
    assert in_time(beside, "greedy") * each_s >= 0.3 * 3.0  # what the others leave


def test_weights_divide_too_little() -> None:
    cost, each_s = COSTS["batches share nothing"]
    loads = {"heavy": 2 / each_s, "light": 2 / each_s}
    _, outcomes = ran(cost, loads, weights={"heavy": 3.0}, seconds=3.0)
    assert 2.2 <= in_time(outcomes, "heavy") / in_time(outcomes, "light") <= 3.8


def test_refusals_come_at_once_and_say_when_to_come_again() -> None:
    cost, each_s = COSTS["batches share nothing"]
    _, outcomes = ran(cost, equals(20, 3 / each_s))
    refused = [outcome for outcome in outcomes if outcome.refusal is not None and not outcome.refusal.late]
    at_once = [outcome for outcome in refused if outcome.latency_s == 0]
    assert len(at_once) >= 0.6 * len(refused)  # the others were pushed out by senders with less
    assert all(outcome.refusal and 0 < outcome.refusal.retry_after_s < PATIENCE_S for outcome in refused)


def test_no_more_are_here_than_the_capacity() -> None:
    path = Path("step")
    scheduler = knowing(Scheduler(capacity=7), [path], UNSHARED)
    frames = [Arrival(0.0, f"device {n}", path, 10.0) for n in range(50)]
    assert in_time(Replay(scheduler, UNSHARED).run(frames)) == 7
    assert scheduler.totals.refused == 43


def test_a_slow_first_run_does_not_lock_its_kind_out() -> None:
    path = Path("step")
    scheduler = Scheduler()
    scheduler.costs.learn("step", 1, 2.0)
    frames = [Arrival(float(n), "device", path, 0.5) for n in range(40)]
    outcomes = Replay(scheduler, lambda step, size: 0.01).run(frames)
    assert 0 < in_time(outcomes) < 40
    assert outcomes[-1].in_time


def test_a_single_client_that_waits_for_its_answers_is_never_made_to_wait_for_company() -> None:
    path, latencies = cuts()[0], []

    def next_of(outcome: Outcome) -> list[Arrival]:
        latencies.append(outcome.latency_s)
        return [Arrival(outcome.ended_s + 0.0002, "device", path, 1.0)] if len(latencies) < 500 else []

    Replay(knowing(Scheduler(), [path], SHARED), SHARED, follow=next_of).run([Arrival(0.0, "device", path, 1.0)])
    assert max(latencies) == pytest.approx(0.004)


def test_a_thread_is_left_idle_only_where_a_frame_is_expected_soon_enough_to_pay() -> None:
    """Two devices a moment apart, every 20 ms: after a while the first of each pair is kept for the second."""
    path, cost = Path("step"), lambda step, size: 0.010
    scheduler = knowing(Scheduler(), [path], cost)
    pairs = [Arrival(0.02 * n + apart, "device", path, 0.1) for n in range(60) for apart in (0.0, 0.0001)]
    replay = Replay(scheduler, cost)
    replay.run(pairs)
    assert scheduler.totals.waits == 0  # the mean gap says 10 ms: more than waiting could save
    steady = [Arrival(0.002 * n, "device", path, 0.1) for n in range(400)]
    scheduler = knowing(Scheduler(), [path], cost)
    replay = Replay(scheduler, cost)
    assert in_time(replay.run(steady)) == 400
    assert sum(len(batch.jobs) for batch in replay.batches) / len(replay.batches) >= 4


def test_bursts_of_equals_are_not_torn_apart() -> None:
    """Forty frames of sixteen devices at once, more than there is time for: as good as batches of all that is here."""
    path, generator, at_s, frames = cuts()[0], random.Random(7), 0.0, []
    while at_s < 4.0:
        at_s += generator.expovariate(12.5)
        frames += [Arrival(at_s, f"device {n % 16}", path, 0.05) for n in range(40)]
    answered, slowest_s = {}, {}
    for rule in (Least(), Static(64, 0.0)):
        outcomes = Replay(knowing(Scheduler(rule=rule), [path], SHARED, largest=64), SHARED).run(frames)
        answered[type(rule)] = in_time(outcomes)
        slowest_s[type(rule)] = p99_s([outcome for outcome in outcomes if outcome.in_time])
    assert answered[Static] < len(frames)
    assert answered[Least] >= 0.97 * answered[Static]
    assert slowest_s[Least] <= 1.05 * slowest_s[Static]


def test_across_cuts_early_ones_are_served_where_batches_by_cut_abandon_them() -> None:
    """Weights dominate the cost. By cut, a segment of one cut is no other cut's."""
    cost, segments = affine(0.00045, 0.00005), 8
    served = {}
    for by_cut in (False, True):
        paths = [
            Path(*((segment, cut if by_cut else 0) for segment in range(cut, segments))) for cut in range(segments)
        ]
        generator, frames = random.Random(7), []
        for number, path in enumerate(paths):
            frames += poisson(f"device {number}", path, 2000 / segments, 0.6, 0.02, generator)
        outcomes = Replay(knowing(Scheduler(), paths, cost, largest=64), cost).run(frames)
        first = [outcome for outcome in outcomes if outcome.arrival.path is paths[0]]
        served[by_cut] = in_time(outcomes), sum(outcome.in_time for outcome in first)
    assert served[False][0] >= 1.3 * served[True][0]
    assert served[False][1] >= 2.0 * served[True][1]
