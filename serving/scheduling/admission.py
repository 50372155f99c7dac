"""Whether a job can be taken, and whom it pushes out for that."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from serving.scheduling.backlog import NOTHING, Ahead, Backlog
from serving.scheduling.jobs import Job, order

_MARGIN: Final = 0.05
"""Share of the time ahead by which a promise is kept back: costs are estimates."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a job meets that comes now.

    Attributes:
        waiting: those that are to be in time, in order.
        backlog: knows when they will be through.
        now_s: now.
        free_s: when a thread is free.
        threads: batches done at the same time.
    """

    waiting: Sequence[Job]
    backlog: Backlog
    now_s: float
    free_s: float
    threads: int

    def short(self, queue: Sequence[Job], job: Job, ahead: Ahead = NOTHING) -> Iterator[tuple[Job, float]]:
        """Who from a job on would be late in this order, behind what is ahead, and by how much: margin included."""
        behind = False
        for other, end_s in self.backlog.ends(queue, self.free_s, self.threads, ahead):
            behind = behind or other is job
            short_s = end_s + _MARGIN * (end_s - self.now_s) - other.deadline_s
            if behind and short_s > 0:
                yield other, short_s


def room_for(job: Job, outlook: Outlook) -> tuple[list[Job] | None, float]:
    """Whom a job would push out, or None where it cannot be taken; and by how much time is short.

    Jobs of senders beyond their share make room for it, if it comes before them. Where it has a score, others make room
    too, wherever they stand, as long as less is lost with all of them together.
    """
    return _by_score(job, outlook) if job.score > 0 else _by_rank(job, outlook)


def _by_rank(job: Job, outlook: Outlook) -> tuple[list[Job] | None, float]:
    """From the job itself on: those before it go as they would without it."""
    behind = outlook.waiting[bisect_right(outlook.waiting, order(job), key=order) :]
    victims: list[Job] = []
    over_s = 0.0
    for other, short_s in outlook.short([job, *behind], job, outlook.backlog.ahead(behind)):
        over_s = max(over_s, short_s)
        if other.rank <= job.rank:  # itself, too
            return None, over_s
        victims.append(other)
    return victims, over_s


def _by_score(job: Job, outlook: Outlook) -> tuple[list[Job] | None, float]:
    """Drop who loses least for the time that it takes until nobody is late: as Moore's rule does, with weights."""
    queue = list(outlook.waiting)
    insort(queue, job, key=order)
    victims: list[Job] = []
    over_s = lost = 0.0
    while (late := next(outlook.short(queue, job), None)) is not None:
        over_s = max(over_s, late[1])
        before = [other for other in queue[: queue.index(late[0]) + 1] if other is not job]
        victim = min(before, key=lambda other: _worth_per_s(other, outlook.backlog), default=None)
        lost += job.score if victim is None else victim.score
        if victim is None or lost >= job.score:
            return None, over_s
        queue.remove(victim)
        victims.append(victim)
    return victims, over_s


def _worth_per_s(job: Job, backlog: Backlog) -> float:
    """What is lost without a job, for each second that it takes; without bound where nothing is known of it."""
    added_s = backlog.added_s(job)
    return job.score / added_s if added_s > 0 else inf
