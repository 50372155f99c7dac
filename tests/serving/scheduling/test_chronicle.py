"""Each batch tells why it was as it was."""

from __future__ import annotations

from serving.scheduling.batching import Static
from serving.scheduling.chronicle import ALONE
from serving.scheduling.jobs import Batch, Job, Path, Wait
from serving.scheduling.scheduler import Scheduler

FAR_S = 1000.0


def learnt(**seconds: dict[int, float]) -> Scheduler:
    """A scheduler that knows the cost of steps by batch size."""
    made = Scheduler()
    for step, by_size in seconds.items():
        for size, took_s in by_size.items():
            made.costs.learn(step, size, took_s)
    return made


def begun(scheduler: Scheduler, now_s: float = 0.0) -> Batch:
    chosen, _ = scheduler.next(now_s)
    assert isinstance(chosen, Batch)
    return chosen


def told(scheduler: Scheduler, now_s: float = 0.0) -> tuple[object, object, object, object]:
    last = scheduler.explained(now_s)["last"]
    assert isinstance(last, list)
    newest = last[0]
    return newest["step"], newest["size"], newest["in_line"], newest["why"]


def test_a_frame_by_itself_was_alone() -> None:
    scheduler = learnt(a={1: 1.0})
    scheduler.offer(Job("x", FAR_S, Path("a")), 0.0)
    batch = begun(scheduler)
    assert told(scheduler) == ("a", 1, 1, ALONE)
    scheduler.done(batch, 1.5)
    last = scheduler.explained(3.0)["last"]
    assert isinstance(last, list)
    assert (last[0]["took_s"], last[0]["expected_s"], last[0]["ago_s"], last[0]["here"]) == (1.5, 1.0, 3.0, 1)


def test_a_batch_takes_all_where_batching_is_free() -> None:
    scheduler = learnt(a={1: 1.0, 4: 1.0})
    path = Path("a")
    for _ in range(4):
        scheduler.offer(Job("x", FAR_S, path), 0.0)
    begun(scheduler)
    assert told(scheduler) == ("a", 4, 4, "all that stood before this step")


def test_a_batch_stays_small_where_one_more_costs_as_much_as_alone() -> None:
    scheduler = learnt(a={1: 1.0, 2: 2.0, 4: 4.0})
    path = Path("a")
    for _ in range(4):
        scheduler.offer(Job("x", FAR_S, path), 0.0)
    begun(scheduler)
    assert told(scheduler) == ("a", 1, 4, "one more would delay the others by more than it saves")


def test_a_batch_stays_small_for_the_sake_of_the_most_urgent() -> None:
    scheduler = learnt(a={1: 1.0, 2: 1.2, 4: 1.6})
    path = Path("a")
    for deadline_s in (1.3, FAR_S, FAR_S):
        scheduler.offer(Job("x", deadline_s, path), 0.0)
    begun(scheduler)
    assert told(scheduler) == ("a", 2, 3, "one more would make the most urgent late")


def test_sizes_are_tried_by_doubling_and_steps_that_cannot_are_done_one_by_one() -> None:
    scheduler = learnt(a={1: 1.0})
    path = Path("a")
    for _ in range(5):
        scheduler.offer(Job("x", FAR_S, path), 0.0)
    batch = begun(scheduler)
    assert told(scheduler) == ("a", 2, 5, "no batch of more than 2 is tried before one of 2 was")
    scheduler.done(batch, 1.3)
    scheduler.costs.of("a").forbid_batches()
    begun(scheduler)
    assert told(scheduler) == ("a", 1, 3, "the step cannot be done for several at once")


def test_frames_at_an_earlier_step_say_whom_they_catch_up_with() -> None:
    scheduler = learnt(a={1: 0.01, 2: 0.01, 4: 0.01}, b={1: 1.0, 2: 1.0, 4: 1.0})
    whole, rest = Path("a", "b"), Path("b")
    scheduler.offer(Job("x", 100.0, rest), 0.0)
    scheduler.offer(Job("x", FAR_S, whole), 0.0)
    begun(scheduler)
    assert told(scheduler) == ("a", 1, 1, "they catch up with 1 that stand before b")


def test_the_time_that_a_thread_was_left_idle_is_told() -> None:
    scheduler = Scheduler(rule=Static(2, 0.5))
    path = Path("a")
    scheduler.offer(Job("x", FAR_S, path), 0.0)
    assert isinstance(scheduler.next(0.0)[0], Wait)
    assert isinstance(scheduler.next(0.2)[0], Wait)
    begun(scheduler, 0.5)
    last = scheduler.explained(1.0)["last"]
    assert isinstance(last, list)
    assert last[0]["waited_s"] == 0.5


def test_only_the_last_are_kept() -> None:
    scheduler = learnt(a={1: 1.0})
    for second in range(100):
        scheduler.offer(Job("x", FAR_S, Path("a")), float(second))
        scheduler.done(begun(scheduler, float(second)), 1.0)
    last = scheduler.explained(100.0)["last"]
    assert isinstance(last, list)
    assert [formed["ago_s"] for formed in last[:2]] == [1.0, 2.0]
    assert len(last) == 32
