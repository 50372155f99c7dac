"""The work that is here and not yet done, and when each job of it should be through."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from serving.scheduling.costs import Costs
from serving.scheduling.jobs import Job, Path, Step

_SHARE_OF_PATIENCE: Final = 0.8
"""A job goes in batches of at most this share of its patience: it may have to wait for some of one before its own."""
_Kind: TypeAlias = tuple[Path, int, int]
"""Path, position, and the largest batch that the patience allows."""


class Ahead(NamedTuple):
    """Seconds of work in front of a job, done in batches and done one by one."""

    batched: float
    singly: float


NOTHING: Final = Ahead(0.0, 0.0)
"""For the first in the queue."""


class Backlog:
    """Counts, for each step, the jobs that still have to go through it.

    What a job costs depends on how many go with it: as many as is most efficient, as its patience allows, and as there
    are.
    """

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._ahead: Counter[Step] = Counter()
        self._waiting: Counter[_Kind] = Counter()
        """Jobs that wait and are to be in time, by kind: those of one kind cost the same."""

    def enter(self, job: Job) -> None:
        """A job is here."""
        for step in job.path.steps[job.position :]:
            self._ahead[step] += 1

    def leave(self, job: Job) -> None:
        """A job is out, wherever it stood."""
        for step in job.path.steps[job.position :]:
            self._ahead[step] -= 1

    def step_done(self, job: Job) -> None:
        """A job has gone through its step, before its position moves on."""
        self._ahead[job.step] -= 1

    def wait(self, job: Job) -> None:
        """A job that is to be in time waits for its next step."""
        self._waiting[job.path, job.position, job.most] += 1

    def wait_no_more(self, job: Job) -> None:
        """It does no longer; before its position moves on."""
        kind = (job.path, job.position, job.most)
        self._waiting[kind] -= 1
        if not self._waiting[kind]:
            del self._waiting[kind]

    def most(self, path: Path, patience_s: float) -> int:
        """The largest batch for the whole path that such a patience, from arrival to deadline, allows."""
        return max(1, bisect_right(self._costs.total(path, 0), patience_s * _SHARE_OF_PATIENCE) - 1)

    def cost_s(self, path: Path, position: int, most: int) -> tuple[float, float]:
        """What the rest of a job adds to the work, and how long it takes from begin to end, in batches as they are now.

        Args:
            path: the job's path.
            position: its next step.
            most: the largest batch that its patience allows.
        """
        steps, curves = path.steps, self._costs.along(path)
        added_s = whole_s = 0.0
        for place in range(position, len(steps)):
            ahead = self._ahead[steps[place]]
            curve = curves[place]
            together = 1 if ahead <= 1 else min(curve.efficient, ahead, most)
            took_s = curve.at(together)
            added_s += took_s / together
            whole_s += took_s
        return added_s, whole_s

    def added_s(self, job: Job) -> float:
        """What the rest of a job that waits adds to the work."""
        return self.cost_s(job.path, job.position, job.most)[0]

    def work_s(self) -> float:
        """What all that wait and are to be in time add up to."""
        return sum(count * self.cost_s(*kind)[0] for kind, count in self._waiting.items())

    def ahead(self, behind: Sequence[Job]) -> Ahead:
        """What all that wait and are to be in time add up to, but for those behind somebody."""
        alone_s = self._costs.alone_s
        singly_s = sum(count * alone_s(path, position) for (path, position, _), count in self._waiting.items())
        return Ahead(
            self.work_s() - sum(map(self.added_s, behind)),
            singly_s - sum(alone_s(job.path, job.position) for job in behind),
        )

    def ends(
        self, jobs: Iterable[Job], begin_s: float, threads: int, ahead: Ahead = NOTHING
    ) -> Iterator[tuple[Job, float]]:
        """When each job should be through, if they go in this order from `begin_s` on, behind `ahead`.

        All in batches, or all one by one: whichever is sooner for it. A batch that saves little makes those in it wait
        for one another, and no job is taken into one that would make the first late.
        """
        known: dict[_Kind, tuple[float, float, float]] = {}
        batched_s, singly_s = (begin_s + part / threads for part in ahead)
        for job in jobs:
            kind = (job.path, job.position, job.most)
            found = known.get(kind)
            if found is None:
                found = known[kind] = *self.cost_s(*kind), self._costs.alone_s(job.path, job.position)
            added_s, whole_s, alone_s = found
            yield job, min(batched_s + whole_s, singly_s + alone_s)
            batched_s += added_s / threads
            singly_s += alone_s / threads
