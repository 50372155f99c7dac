"""What to run next, and what not to take at all."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import Final

from serving.scheduling.admission import Outlook, room_for
from serving.scheduling.arrivals import Arrivals
from serving.scheduling.backlog import Backlog
from serving.scheduling.batching import Least, Rule, Waiting
from serving.scheduling.chronicle import Chronicle
from serving.scheduling.costs import MAX_SIZE, Costs
from serving.scheduling.jobs import Batch, Job, Path, Refused, Step, Wait, order
from serving.scheduling.shares import FIRST, SPARE, Shares

_rank, _yields = attrgetter("rank"), attrgetter("yields")


_SOONEST_S: Final = 0.001
"""Nobody is told to come back sooner."""


@dataclass(slots=True)
class Totals:
    """What became of all jobs since the start."""

    taken: int = 0
    refused: int = 0
    displaced: int = 0
    late: int = 0
    waits: int = 0
    """Times that a thread was left idle for company."""


class Scheduler:
    """Takes jobs that can be in time, and tells what to run next: entitled senders, then deadlines, in batches.

    The caller holds one lock around every call: nothing here blocks, and nothing here is thread-safe.

    Args:
        threads: batches done at the same time.
        capacity: jobs that may be here and unfinished; a bound on memory.
        weights: of senders, by name; others have 1.
        rule: how batches are formed.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        capacity: int = 256,
        weights: Mapping[str, float] | None = None,
        rule: Rule | None = None,
    ) -> None:
        self.costs = Costs()
        self.totals = Totals()
        self._threads = threads
        self._capacity = capacity
        self._rule: Rule = rule or Least()
        self._shares = Shares(weights)
        self._backlog = Backlog(self.costs)
        self._arrivals = Arrivals()
        self._waiting: list[Job] = []
        """By rank of their senders, and the earliest deadline first among equals."""
        self._lines: dict[Step, list[Job]] = {}
        """The same by their next step."""
        self._yielding = 0
        """How many of them yield."""
        self._late_after_s = inf
        """Until then none of them can be late."""
        self._running: set[Batch] = set()
        self._in_work: set[Job] = set()
        self._chronicle = Chronicle()

    @property
    def queued(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._waiting)

    def allow(self, threads: int) -> None:
        """From now on so many batches may be done at the same time; those that are begun go on."""
        self._threads = threads

    def wait_s(self, now_s: float) -> float:
        """How long a job coming now would wait, if it went behind all others but the spare ones."""
        return self._free_s(now_s) - now_s + self._backlog.work_s() / self._threads

    def estimate_s(self, path: Path) -> float:
        """How long the whole of a path takes alone."""
        return self.costs.alone_s(path, 0)

    def offer(self, job: Job, now_s: float) -> list[Refused]:
        """Take a job, if it can be in time without making one late that was taken before and is as entitled.

        Returns:
            The job itself, if it is not taken; or those jobs that can no longer be in time because of it, and are out:
            of senders beyond their share, or with a lower score.
        """
        job.offered_s = now_s
        if job.spare:
            return self._offer_spare(job)
        self._arrivals.learn(job.path, now_s)
        job.rank = self._shares.rank(job.sender, now_s)
        job.greedy = job.rank > FIRST and self._shares.greedy(job.sender)
        if now_s + self.costs.fastest_s(job.path, job.position) > job.deadline_s:
            self.costs.doubt(job.path, job.position)
            self.totals.late += 1
            return [Refused(job, late=True)]
        self._backlog.enter(job)
        alone = not self._waiting and not self._running
        job.most = MAX_SIZE if alone else self._backlog.most(job.path, job.deadline_s - now_s)
        job.cost_s = self._backlog.added_s(job)
        self._shares.ask(job.sender, job.cost_s, now_s)
        victims, over_s = ([], 0.0) if alone else self._victims(job, now_s)
        if victims is None:
            self._backlog.leave(job)
            self.totals.refused += 1
            return [Refused(job, late=False, retry_after_s=max(_SOONEST_S, over_s))]
        for victim in victims:
            self._shares.get(victim.sender, -victim.cost_s, now_s)
            self._remove(victim)
        self.totals.displaced += len(victims)
        self._shares.get(job.sender, job.cost_s, now_s)
        self._put(job)
        if not job.greedy:
            self._arrivals.count(now_s)
        self.totals.taken += 1
        return [Refused(victim, late=False, retry_after_s=max(_SOONEST_S, over_s)) for victim in victims]

    def _offer_spare(self, job: Job) -> list[Refused]:
        """Take a job for idle moments: it makes nobody late, and nobody pays for it."""
        if len(self._waiting) + len(self._in_work) >= self._capacity:
            return [Refused(job, late=False, retry_after_s=_SOONEST_S)]
        job.rank = SPARE
        self._backlog.enter(job)
        job.most = self._backlog.most(job.path, job.deadline_s - job.offered_s)
        self._put(job)
        return []

    def next(self, now_s: float) -> tuple[Batch | Wait | None, list[Refused]]:
        """What a free thread should do now, and jobs that are out because their time has passed.

        Returns:
            A batch, to be followed by `done`; or until when to wait; or None where nothing is to be done.
        """
        late = self._late(now_s)
        if not self._waiting or len(self._running) >= self._threads:
            return None, late
        waiting = None if len(self._waiting) == 1 and self._waiting[0].position else self._seen(now_s)
        chosen = self._chosen(waiting, now_s)
        if isinstance(chosen, Wait):
            self.totals.waits += 1
            self._chronicle.waited(now_s)
            return chosen, late
        batch = self._begun(tuple(chosen), None if len(self._waiting) == 1 else waiting, now_s)
        for job in batch.jobs:
            self._pull(job)
        self._in_work.update(batch.jobs)
        return batch, late

    def follow(self, batch: Batch, now_s: float) -> Batch | None:
        """Instead of `done` and `next`, where a batch has ended whose one job is all there is to do: its next step.

        Returns:
            A batch, to be followed by either; None where there are others, or no steps left, or too little time.
        """
        job = batch.jobs[0]
        position = job.position + 1
        if self._waiting or len(batch.jobs) > 1 or job not in self._in_work or position == len(job.path):
            return None
        if now_s + self.costs.fastest_s(job.path, position) > job.deadline_s:
            return None
        self._learn(batch, now_s - batch.began_s)
        self._backlog.step_done(job)
        job.position = position
        return self._begun((job,), None, now_s)

    def done(self, batch: Batch, took_s: float, failed: Iterable[Job] = ()) -> list[Job]:
        """A batch has ended; its jobs wait for their next steps, but for those that failed or were withdrawn.

        Returns:
            Jobs that are through.
        """
        self._learn(batch, took_s)
        out, through = set(failed), []
        for job in batch.jobs:
            if job not in self._in_work:
                continue
            self._in_work.remove(job)
            if job in out:
                self._backlog.leave(job)
                continue
            self._backlog.step_done(job)
            job.position += 1
            if job.through:
                self._backlog.leave(job)
                through.append(job)
            else:
                self._put(job)
        return through

    def begun(self, job: Job) -> bool:
        """Whether a job that is here has gone through a step, or is at one."""
        return job.position > 0 or job in self._in_work

    def withdraw(self, job: Job) -> None:
        """Nobody wants this job any more. Harmless where it is out already."""
        if job in self._in_work:
            self._in_work.remove(job)
            self._backlog.leave(job)
        elif job in self._waiting:
            self._remove(job)

    def explained(self, now_s: float) -> dict[str, object]:
        """What is known and what was done, for a person."""
        return {
            "queued": self.queued,
            "wait_s": self.wait_s(now_s),
            "taken": self.totals.taken,
            "refused": self.totals.refused,
            "displaced": self.totals.displaced,
            "late": self.totals.late,
            "waits": self.totals.waits,
            "shares": self._shares.explained(),
            "steps": self.costs.explained(),
            "last": self._chronicle.explained(now_s),
        }

    def _begun(self, jobs: tuple[Job, ...], waiting: Waiting | None, now_s: float) -> Batch:
        step = jobs[0].step
        batch = Batch(step, jobs, now_s, self.costs.of(step).at(len(jobs)))
        self._chronicle.formed(batch, waiting, self.costs)
        self._running.add(batch)
        return batch

    def _learn(self, batch: Batch, took_s: float) -> None:
        """A batch has ended."""
        self._running.discard(batch)
        if self.costs.learn(batch.step, len(batch.jobs), took_s):
            self._late_after_s = -inf  # what takes longer than was thought is late earlier
        self._chronicle.done(batch, took_s)

    def _victims(self, job: Job, now_s: float) -> tuple[list[Job] | None, float]:
        """Whom a job would push out, or None where it cannot be taken; and by how much time is short."""
        outlook = Outlook(self._promised(), self._backlog, now_s, self._free_s(now_s), self._threads)
        victims, over_s = room_for(job, outlook)
        if victims == [] and len(self._waiting) + len(self._in_work) >= self._capacity:
            last = max([*self._waiting, job], key=order)
            return (None if last.rank <= job.rank else [last]), job.cost_s
        return victims, over_s

    def _promised(self) -> list[Job]:
        """Those that wait and are to be in time: all but the spare ones, which are last."""
        return self._waiting[: bisect_left(self._waiting, SPARE, key=_rank)]

    def _late(self, now_s: float) -> list[Refused]:
        if now_s <= self._late_after_s:
            return []
        late = []
        for job in list(self._waiting):
            if now_s + self.costs.fastest_s(job.path, job.position) > job.deadline_s:
                self.costs.doubt(job.path, job.position)
                self._remove(job)
                late.append(Refused(job, late=True))
        self.totals.late += len(late)
        self._late_after_s = min(map(self._latest_s, self._waiting), default=inf)
        return late

    def _latest_s(self, job: Job) -> float:
        """Until when a job can be begun, at the least."""
        return job.deadline_s - self.costs.hoped_s(job.path, job.position)

    def _chosen(self, waiting: Waiting | None, now_s: float) -> Sequence[Job] | Wait:
        """What the rule says; without `waiting`, the only job goes on, whatever the rule."""
        if waiting is None:
            return self._waiting[:]
        return self._rule.choose(waiting, self.costs, self._arrivals, now_s)

    def _seen(self, now_s: float) -> Waiting:
        lead = self._waiting[0]
        if self._yielding and not lead.yields:
            peers = len(self._waiting) - self._yielding
            lines = {step: sorted(line, key=_yields) for step, line in self._lines.items()}
        else:
            peers, lines = len(self._waiting), self._lines
        return Waiting(
            lines,
            peers=peers,
            ahead_per_s=self._arrivals.per_s(now_s) if lead.yields else 0.0,
            lead=lead,
            busy=bool(self._running),
        )

    def _free_s(self, now_s: float) -> float:
        """When a thread is free, on average."""
        busy_s = 0.0
        for batch in self._running:
            busy_s += max(0.0, batch.began_s + batch.expected_s - now_s)
            lead = batch.jobs[0]
            rest_s, _ = self._backlog.cost_s(lead.path, lead.position + 1, lead.most)
            busy_s += rest_s * len(batch.jobs)
        return now_s + busy_s / self._threads

    def _remove(self, job: Job) -> None:
        self._pull(job)
        self._backlog.leave(job)

    def _put(self, job: Job) -> None:
        insort(self._waiting, job, key=order)
        insort(self._lines.setdefault(job.step, []), job, key=order)
        self._yielding += job.yields
        self._late_after_s = min(self._late_after_s, self._latest_s(job))
        if not job.spare:
            self._backlog.wait(job)

    def _pull(self, job: Job) -> None:
        """A job waits no more."""
        self._waiting.remove(job)
        line = self._lines[job.step]
        line.remove(job)
        if not line:
            del self._lines[job.step]
        self._yielding -= job.yields
        if not job.spare:
            self._backlog.wait_no_more(job)
