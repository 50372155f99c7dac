"""What the scheduler counts as jobs come and go, against going through all that wait."""

from __future__ import annotations

import random
from bisect import insort
from math import isclose

import pytest

from serving.scheduling import scheduler as under_test
from serving.scheduling.admission import Outlook, room_for
from serving.scheduling.jobs import Batch, Job, Path, order
from serving.scheduling.scheduler import Scheduler

PATHS = (Path("a", "b", "c"), Path("b", "c"), Path("d", "c"))
COST_S = {"a": 0.004, "b": 0.003, "c": 0.002, "d": 0.001}


def by_going_through_all(job: Job, outlook: Outlook) -> list[Job] | None:
    """Whom a job without a score pushes out: every end is reckoned, from the first in the queue on."""
    queue = [*outlook.waiting]
    insort(queue, job, key=order)
    batched_s = singly_s = outlook.free_s
    victims, behind = [], False
    for other in queue:
        added_s, whole_s = outlook.backlog.cost_s(other.path, other.position, other.most)
        alone_s = outlook.backlog._costs.alone_s(other.path, other.position)
        end_s = min(batched_s + whole_s, singly_s + alone_s)
        behind = behind or other is job
        if behind and end_s + 0.05 * (end_s - outlook.now_s) > other.deadline_s:
            if other.rank <= job.rank:
                return None
            victims.append(other)
        batched_s += added_s / outlook.threads
        singly_s += alone_s / outlook.threads
    return victims


class Checked:
    """Takes the place of `room_for`, and compares."""

    def __init__(self) -> None:
        self.took = self.pushed = self.refused = 0

    def __call__(self, job: Job, outlook: Outlook) -> tuple[list[Job] | None, float]:
        found, over_s = room_for(job, outlook)
        assert isclose(outlook.backlog.work_s(), sum(map(outlook.backlog.added_s, outlook.waiting)), abs_tol=1e-9)
        assert found == by_going_through_all(job, outlook)
        self.took += found == []
        self.pushed += bool(found)
        self.refused += found is None
        return found, over_s


@pytest.mark.parametrize("seed", range(4))
def test_what_is_counted_is_what_going_through_all_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, checked = random.Random(seed), Checked()
    monkeypatch.setattr(under_test, "room_for", checked)
    scheduler, now_s = Scheduler(threads=2, capacity=64), 0.0
    running: list[Batch] = []
    for step in range(1200):
        now_s += generator.expovariate(1000)
        if generator.random() < 0.7:
            sender = "greedy" if generator.random() < 0.6 else f"device-{step % 5}"
            patience_s = generator.choice((0.02, 0.05, 0.05, 0.2))
            spare = generator.random() < 0.05
            scheduler.offer(Job(sender, now_s + patience_s, generator.choice(PATHS), spare=spare), now_s)
        elif running:
            batch = running.pop(0)
            now_s += COST_S[str(batch.step)] * len(batch.jobs) ** 0.5 * generator.uniform(0.8, 1.2)
            failed = [job for job in batch.jobs if generator.random() < 0.02]
            scheduler.done(batch, now_s - batch.began_s, failed)
        if scheduler._waiting and generator.random() < 0.03:
            scheduler.withdraw(generator.choice(scheduler._waiting))
        chosen, _ = scheduler.next(now_s)
        running += [chosen] if isinstance(chosen, Batch) else []
        for job in scheduler._waiting:
            assert now_s + scheduler.costs.fastest_s(job.path, job.position) <= job.deadline_s, "late ones are out"
        assert sorted(map(id, scheduler._waiting)) == sorted(
            id(job) for line in scheduler._lines.values() for job in line
        )
        for key, line in scheduler._lines.items():
            assert line == sorted(line, key=order) != []
            assert {job.step for job in line} == {key}
        assert scheduler._yielding == sum(job.yields for job in scheduler._waiting)
    assert min(checked.took, checked.pushed, checked.refused, scheduler.totals.late) > 0, "all of it happened"
