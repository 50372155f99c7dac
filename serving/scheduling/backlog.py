"""The work that is here and not yet done, and when each job of it should be through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from serving.scheduling.costs import Costs
from serving.scheduling.jobs import Job, Path, Step

_SHARE_OF_PATIENCE: Final = 0.8
"""A job goes in batches of at most this share of its patience: it may have to wait for some of one before its own."""


class Backlog:
    """Counts, for each step, the jobs that still have to go through it.

    What a job costs depends on how many go with it: as many as is most efficient, as its patience allows, and as there
    are.
    """

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._ahead: Counter[Step] = Counter()

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

    def cost_s(self, path: Path, position: int, patience_s: float) -> tuple[float, float]:
        """What the rest of a job adds to the work, and how long it takes from begin to end, in batches as they are now.

        Args:
            path: the job's path.
            position: its next step.
            patience_s: what it had from its arrival to its deadline.
        """
        ahead = self._ahead
        if all(ahead[step] <= 1 for step in path.steps[position:]):
            alone_s = self._costs.alone_s(path, position)
            return alone_s, alone_s
        most = self._most(path, patience_s)
        added_s = whole_s = 0.0
        for step, curve in zip(path.steps[position:], self._costs.along(path)[position:], strict=True):
            together = max(1, min(curve.efficient, ahead[step], most))
            took_s = curve.at(together)
            added_s += took_s / together
            whole_s += took_s
        return added_s, whole_s

    def added_s(self, job: Job) -> float:
        """What the rest of a job that waits adds to the work."""
        return self.cost_s(job.path, job.position, job.deadline_s - job.offered_s)[0]

    def work_s(self, jobs: Iterable[Job]) -> float:
        """What these jobs add up to."""
        return sum(map(self.added_s, jobs))

    def ends(self, jobs: Iterable[Job], begin_s: float, threads: int) -> Iterator[tuple[Job, float]]:
        """When each job should be through, if they go in this order from `begin_s` on."""
        known: dict[tuple[Path, int], tuple[float, float]] = {}
        at_s = begin_s
        for job in jobs:
            key = (job.path, job.position)
            found = known.get(key)
            if found is None:
                found = known[key] = self.cost_s(*key, job.deadline_s - job.offered_s)
            yield job, at_s + found[1]
            at_s += found[0] / threads

    def _most(self, path: Path, patience_s: float) -> int:
        """The largest batch for the whole path that such a patience allows."""
        total = self._costs.total(path, 0)
        return max(1, int(total.searchsorted(patience_s * _SHARE_OF_PATIENCE, "right")) - 1)
