"""Drives a scheduler through simulated time: for tests, benchmarks, and to answer "what if"."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from serving.scheduling.jobs import Batch, Job, Path, Refused, Step, Wait
from serving.scheduling.scheduler import Scheduler

TrueCost: TypeAlias = Callable[[Step, int], float]
"""Seconds that a step really takes for a batch of that size."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that will come."""

    at_s: float
    sender: str
    path: Path
    patience_s: float
    """From its arrival to its deadline."""
    score: float = 0.0
    """See `Job`."""
    idle_until_s: float | None = None
    """A spare one: done in an idle moment only, and given up where it is not begun by then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a frame.

    Attributes:
        arrival: the frame.
        ended_s: when it was through, refused or dropped.
        answered: whether it was through, in time or not.
        refusal: otherwise, what it was told.
    """

    arrival: Arrival
    ended_s: float
    answered: bool
    refusal: Refused | None = None

    @property
    def in_time(self) -> bool:
        """Answered by its deadline."""
        return self.answered and self.ended_s <= self.arrival.at_s + self.arrival.patience_s + 1e-12

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.arrival.at_s


class Replay:
    """One run.

    Args:
        scheduler: fresh.
        cost: what steps really take.
        threads: as many as the scheduler was told of.
        follow: called with each outcome; the arrivals that it gives come next (a client that waits for its answer).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        cost: TrueCost,
        *,
        threads: int = 1,
        follow: Callable[[Outcome], Iterable[Arrival]] = lambda outcome: (),
    ) -> None:
        self.batches: list[Batch] = []
        self._scheduler = scheduler
        self._cost = cost
        self._free = threads
        self._follow = follow
        self._order = itertools.count()
        self._events: list[tuple[float, int, Arrival | Batch | Job | None]] = []
        self._arrivals: dict[Job, Arrival] = {}
        self._outcomes: list[Outcome] = []

    def run(self, arrivals: Iterable[Arrival]) -> Sequence[Outcome]:
        """All outcomes, in the order in which they came about."""
        for arrival in arrivals:
            self._push(arrival.at_s, arrival)
        while self._events:
            now_s, _, event = heapq.heappop(self._events)
            if isinstance(event, Arrival):
                self._arrive(event, now_s)
            elif isinstance(event, Job):
                self._leave(event, now_s)
            elif isinstance(event, Batch):
                self._free += 1
                for job in self._scheduler.done(event, now_s - event.began_s):
                    self._end(Outcome(self._arrivals.pop(job), now_s, answered=True))
            if not self._events or self._events[0][0] > now_s:
                self._start(now_s)
        return self._outcomes

    def _arrive(self, arrival: Arrival, now_s: float) -> None:
        spare = arrival.idle_until_s is not None
        job = Job(arrival.sender, arrival.at_s + arrival.patience_s, arrival.path, score=arrival.score, spare=spare)
        self._arrivals[job] = arrival
        if arrival.idle_until_s is not None:
            self._push(arrival.idle_until_s, job)
        self._turned_away(self._scheduler.offer(job, now_s), now_s)

    def _leave(self, job: Job, now_s: float) -> None:
        """Give up a spare one that is not begun."""
        if job in self._arrivals and not self._scheduler.begun(job):
            self._scheduler.withdraw(job)
            self._turned_away([Refused(job, late=True)], now_s)

    def _start(self, now_s: float) -> None:
        while self._free:
            chosen, late = self._scheduler.next(now_s)
            self._turned_away(late, now_s)
            if isinstance(chosen, Wait):
                self._push(chosen.until_s, None)
            if not isinstance(chosen, Batch):
                return
            self._free -= 1
            self.batches.append(chosen)
            self._push(now_s + self._cost(chosen.step, len(chosen.jobs)), chosen)

    def _turned_away(self, refused: Iterable[Refused], now_s: float) -> None:
        for one in refused:
            self._end(Outcome(self._arrivals.pop(one.job), now_s, answered=False, refusal=one))

    def _end(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        for arrival in self._follow(outcome):
            self._push(arrival.at_s, arrival)

    def _push(self, at_s: float, event: Arrival | Batch | Job | None) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), event))
