"""A job that is alone goes on from step to step as it would through the queue."""

from __future__ import annotations

from serving.scheduling.jobs import Batch, Job, Path
from serving.scheduling.scheduler import Scheduler

PATH = Path("a", "b", "c")
STEP_S = 0.01


def begun(scheduler: Scheduler, now_s: float = 0.0, *, patience_s: float = 1.0) -> Batch:
    assert scheduler.offer(Job("device", now_s + patience_s, PATH), now_s) == []
    batch, _ = scheduler.next(now_s)
    assert isinstance(batch, Batch)
    return batch


def through_the_queue(scheduler: Scheduler, batch: Batch, now_s: float) -> Batch:
    assert scheduler.done(batch, now_s - batch.began_s) == []
    following, late = scheduler.next(now_s)
    assert isinstance(following, Batch)
    assert late == []
    return following


def test_it_is_told_and_learnt_of_as_if_it_had_gone_through_the_queue() -> None:
    ways = Scheduler(), Scheduler()
    batches = [begun(scheduler) for scheduler in ways]
    for place, now_s in enumerate((STEP_S, 2 * STEP_S), start=1):
        follower = ways[0].follow(batches[0], now_s)
        assert follower is not None
        batches = [follower, through_the_queue(ways[1], batches[1], now_s)]
        assert [(one.step, one.began_s, one.expected_s, one.jobs[0].position) for one in batches] == [
            (PATH.steps[place], now_s, batches[1].expected_s, place)
        ] * 2
    assert ways[0].follow(batches[0], 3 * STEP_S) is None, "there is no step left"
    for scheduler, batch in zip(ways, batches, strict=True):
        assert scheduler.done(batch, STEP_S) == [batch.jobs[0]]
    assert ways[0].explained(1.0) == ways[1].explained(1.0)
    assert ways[0].wait_s(1.0) == 0.0


def test_a_job_that_is_not_alone_or_no_longer_wanted_goes_through_the_queue() -> None:
    scheduler = Scheduler()
    batch = begun(scheduler)
    scheduler.offer(Job("other", 1.0, PATH), 0.001)
    assert scheduler.follow(batch, STEP_S) is None
    assert through_the_queue(scheduler, batch, STEP_S).jobs[0].position <= 1

    scheduler = Scheduler()
    batch = begun(scheduler)
    scheduler.withdraw(batch.jobs[0])
    assert scheduler.follow(batch, STEP_S) is None
    assert scheduler.done(batch, STEP_S) == []
    assert scheduler.next(STEP_S) == (None, [])


def test_what_can_no_longer_be_in_time_is_not_gone_on_with() -> None:
    scheduler = Scheduler()
    for step in PATH.steps:
        scheduler.costs.learn(step, 1, STEP_S)
    batch = begun(scheduler, patience_s=3.5 * STEP_S)
    assert scheduler.follow(batch, 2 * STEP_S) is None
    assert scheduler.done(batch, 2 * STEP_S) == []
    chosen, (late,) = scheduler.next(2 * STEP_S)
    assert (chosen, late.job, late.late) == (None, batch.jobs[0], True)
