"""The scheduler as a whole, in simulated time: against brute force, and what must hold for any work."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scheduling.batching import Least, Rule, Static
from serving.scheduling.jobs import Path
from serving.scheduling.replay import Arrival, Replay, TrueCost
from serving.scheduling.scheduler import Scheduler
from tests.serving.scheduling.workloads import SHARED, UNSHARED, affine, cuts, in_time, knowing, single

PATHS = cuts()
MARGIN = 1.06
"""Above what the scheduler keeps back of each promise."""

arrivals = st.builds(
    Arrival,
    at_s=st.floats(0, 0.05),
    sender=st.sampled_from(["a", "b", "c"]),
    path=st.sampled_from(PATHS),
    patience_s=st.floats(0.001, 0.05),
)
rules = st.sampled_from([Least(), Static(1, 0.0), Static(4, 0.002), Static(64, 0.01)])


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(arrivals, max_size=25), rules, st.integers(1, 3), st.booleans(), st.integers(1, 50))
def test_every_frame_ends_once_and_batches_are_of_one_step(
    frames: list[Arrival], rule: Rule, threads: int, known: bool, capacity: int
) -> None:
    scheduler = Scheduler(threads=threads, capacity=capacity, rule=rule)
    if known:
        knowing(scheduler, PATHS, SHARED)
    replay = Replay(scheduler, SHARED, threads=threads)
    outcomes = replay.run(frames)
    assert Counter(map(id, frames)) == Counter(id(outcome.arrival) for outcome in outcomes)
    assert scheduler.queued == 0
    assert scheduler.wait_s(1.0) == 0.0
    for batch in replay.batches:
        assert len(set(map(id, batch.jobs))) == len(batch.jobs) >= 1
    done = Counter((id(job), step) for batch in replay.batches for job in batch.jobs for step in [batch.step])
    assert set(done.values()) <= {1}
    told = [outcome.refusal for outcome in outcomes if outcome.refusal is not None]
    assert all(refusal.retry_after_s > 0 for refusal in told if not refusal.late)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.lists(arrivals, max_size=20))
def test_a_promise_is_kept_where_costs_are_known(frames: list[Arrival]) -> None:
    """Whoever is taken is in time, or is pushed out for a sender with less than its share; none is answered late.

    Frames that could not be in time on an idle tier are left out: now and then one is let in, to learn.
    """
    frames = [frame for frame in frames if frame.patience_s >= MARGIN * 0.001 * len(frame.path)]
    scheduler = single(knowing(Scheduler(), PATHS, UNSHARED), PATHS[0].steps)
    outcomes = Replay(scheduler, UNSHARED).run(frames)
    assert not [outcome for outcome in outcomes if outcome.answered and not outcome.in_time]
    assert scheduler.totals.taken == in_time(outcomes) + scheduler.totals.displaced


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.floats(0.001, 0.03)), min_size=1, max_size=6))
def test_what_some_order_can_answer_in_time_is_answered_in_time(frames: list[tuple[Path, float]]) -> None:
    """Brute force over all orders of frames that are all here; without batches, earliest deadline first is optimal."""
    possible = any(
        all(
            MARGIN * end_s <= patience_s
            for (_, patience_s), end_s in zip(
                order, itertools.accumulate(len(path) * 0.001 for path, _ in order), strict=True
            )
        )
        for order in itertools.permutations(frames)
    )
    scheduler = single(knowing(Scheduler(), PATHS, UNSHARED), PATHS[0].steps)
    blocker = Path("blocker")  # the thread is busy while the frames come
    scheduler.costs.learn("blocker", 1, 1e-6)
    here = [Arrival(0.0, "first", blocker, 1.0)]
    here += [Arrival(0.0, "one", path, patience_s + 1e-6) for path, patience_s in frames]
    outcomes = Replay(scheduler, lambda step, size: 1e-6 if step == "blocker" else 0.001 * size).run(here)
    if possible:
        assert in_time(outcomes) == len(here)


def _least_sum_s(counts: tuple[int, ...], base_s: float, each_s: float) -> float:
    """The least sum of completion times of frames that are all here, by trying every batch at every moment.

    `counts` says how many stand before each segment.
    """

    @cache
    def best(state: tuple[int, ...]) -> float:
        unfinished = sum(state)
        if not unfinished:
            return 0.0
        tried = []
        for segment, count in enumerate(state):
            for size in range(1, count + 1):
                after = list(state)
                after[segment] -= size
                if segment + 1 < len(after):
                    after[segment + 1] += size
                tried.append(unfinished * (base_s + each_s * size) + best(tuple(after)))
        return min(tried)

    return best(counts)


@pytest.mark.parametrize("each_s", [0.0, 0.0002, 0.0005, 0.001])
def test_the_sum_of_completion_times_is_near_the_least_possible(each_s: float) -> None:
    """Every mix of up to three frames at each of three cuts, against brute force. Their deadlines are equal, so that it
    is the order in which they came, not their lengths, that decides between single ones: brute force may do better."""
    paths, cost = cuts(3), affine(0.001 - each_s, each_s)
    ratios, batched_s, alone_s = [], 0.0, 0.0
    for counts in itertools.product(range(4), repeat=3):
        if not any(counts):
            continue
        ended_s = _sum_of_ends(Least(), paths, counts, cost)
        batched_s += ended_s
        alone_s += _sum_of_ends(Static(1, 0.0), paths, counts, cost)
        ratios.append(ended_s / _least_sum_s(counts, 0.001 - each_s, each_s))
    assert min(ratios) >= 1 - 1e-4
    assert max(ratios) <= 1.7
    assert sum(ratios) / len(ratios) <= 1.45
    assert batched_s <= alone_s * (0.6 if each_s < 0.0005 else 0.9 if each_s < 0.001 else 1.0001)


def _sum_of_ends(rule: Rule, paths: list[Path], counts: tuple[int, ...], cost: TrueCost) -> float:
    scheduler = knowing(Scheduler(rule=rule), paths, cost, largest=64)
    scheduler.costs.learn("blocker", 1, 1e-9)
    here = [Arrival(0.0, "one", Path("blocker"), 9.0)]
    here += [Arrival(0.0, "one", path, 9.0) for path, count in zip(paths, counts, strict=True) for _ in range(count)]
    outcomes = Replay(scheduler, lambda step, size: 1e-9 if step == "blocker" else cost(step, size)).run(here)
    assert in_time(outcomes) == len(here)
    return sum(outcome.ended_s for outcome in outcomes)
