"""What is lost where a frame is not done here: who makes room for whom, and what idle moments are for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from serving.scheduling.jobs import Batch, Job, Path
from serving.scheduling.replay import Arrival, Replay
from serving.scheduling.scheduler import Scheduler
from tests.serving.scheduling.workloads import in_time, knowing, single

STEP = Path("step")


def one_second(step: object, size: int) -> float:
    return 1.0 * size


def scheduler(capacity: int = 64) -> Scheduler:
    """One step of a second, frame by frame."""
    return single(knowing(Scheduler(capacity=capacity), [STEP], one_second, largest=1), STEP.steps)


def begun(made: Scheduler, now_s: float) -> Batch:
    chosen, _ = made.next(now_s)
    assert isinstance(chosen, Batch)
    return chosen


def test_a_frame_pushes_out_one_that_loses_less() -> None:
    made = scheduler()
    first, urgent = Job("a", 1.5, STEP, score=1.0), Job("a", 1.2, STEP, score=3.0)
    assert made.offer(first, 0.0) == []
    (out,) = made.offer(urgent, 0.0)
    assert out.job is first
    assert not out.late
    assert begun(made, 0.0).jobs == (urgent,)


def test_it_goes_itself_where_the_others_lose_more() -> None:
    made = scheduler()
    waiting = [Job("a", deadline_s, STEP, score=1.5) for deadline_s in (1.5, 2.5)]
    for job in waiting:
        assert made.offer(job, 0.0) == []
    urgent = Job("a", 1.2, STEP, score=1.4)
    (out,) = made.offer(urgent, 0.0)
    assert out.job is urgent
    assert made.queued == 2


def test_without_scores_nobody_of_the_same_rank_is_pushed_out() -> None:
    made = scheduler()
    first, urgent = Job("a", 1.5, STEP), Job("a", 1.2, STEP)
    made.offer(first, 0.0)
    (out,) = made.offer(urgent, 0.0)
    assert out.job is urgent


def test_a_spare_frame_is_done_when_nothing_else_is_to_be_done() -> None:
    frames = [Arrival(0.0, "a", STEP, 10.0) for _ in range(3)]
    spare = Arrival(0.0, "a", STEP, 10.0, idle_until_s=9.0)
    outcomes = Replay(scheduler(), one_second).run([spare, *frames])
    assert outcomes[-1].arrival is spare
    assert in_time(outcomes) == 4


def test_a_spare_frame_is_given_up_where_it_is_not_begun_in_time() -> None:
    frames = [Arrival(0.0, "a", STEP, 10.0) for _ in range(4)]
    spare = Arrival(0.5, "a", STEP, 10.0, idle_until_s=2.5)
    outcomes = Replay(scheduler(), one_second).run([*frames, spare])
    (given_up,) = [outcome for outcome in outcomes if outcome.arrival is spare]
    assert not given_up.answered
    assert given_up.ended_s == 2.5
    assert in_time(outcomes) == 4


def test_a_full_tier_gives_a_spare_frames_place_to_one_that_is_promised() -> None:
    made = scheduler(capacity=2)
    begun_first, spare, promised = Job("a", 9.0, STEP), Job("a", 9.0, STEP, spare=True), Job("a", 9.0, STEP)
    made.offer(begun_first, 0.0)
    begun(made, 0.0)
    assert made.offer(spare, 0.0) == []
    (out,) = made.offer(promised, 0.0)
    assert out.job is spare
    (refused,) = made.offer(Job("a", 9.0, STEP, spare=True), 0.0)
    assert not refused.late
    assert refused.retry_after_s > 0


UNITS = some.lists(some.tuples(some.integers(1, 5), some.floats(0.1, 5.0)), min_size=1, max_size=7)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(UNITS)
def test_of_frames_that_take_equally_long_those_are_kept_that_are_worth_most(frames: list[tuple[int, float]]) -> None:
    """Against all subsets: one can be done in time if its n-th earliest deadline is not before the n-th end."""
    best = 0.0
    for chosen in itertools.chain.from_iterable(itertools.combinations(frames, n) for n in range(len(frames) + 1)):
        if all(deadline >= end for end, (deadline, _) in enumerate(sorted(chosen), 1)):
            best = max(best, sum(score for _, score in chosen))
    arrivals = [Arrival(0.0, "a", STEP, 1.1 * deadline, score) for deadline, score in frames]
    outcomes = Replay(scheduler(), one_second).run(arrivals)
    assert sum(outcome.arrival.score for outcome in outcomes if outcome.in_time) == pytest.approx(best)


FRAMES = some.lists(
    some.tuples(some.floats(0.0, 20.0), some.floats(1.5, 8.0), some.floats(0.0, 5.0)), min_size=1, max_size=25
)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(FRAMES, some.lists(some.floats(0.0, 20.0), max_size=10))
def test_spare_frames_cost_promised_ones_at_most_the_step_that_runs(
    frames: list[tuple[float, float, float]], spares: list[float]
) -> None:
    """Nothing is refused for them, and every frame ends once, with scores or without."""
    promised = [Arrival(at_s, "a", STEP, patience_s, score) for at_s, patience_s, score in frames]
    spare = [Arrival(at_s, "b", STEP, 9.0, idle_until_s=at_s + 5.0) for at_s in spares]
    outcomes = Replay(scheduler(), one_second).run([*promised, *spare])
    assert len(outcomes) == len(promised) + len(spare)
    assert len({id(outcome.arrival) for outcome in outcomes}) == len(outcomes)
    assert not [outcome for outcome in outcomes if outcome.answered and not outcome.in_time]
    for one, other in itertools.pairwise(sorted(outcome.ended_s for outcome in outcomes if outcome.answered)):
        assert other - one >= 1.0 - 1e-9
