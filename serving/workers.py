"""Threads that do a tier's work, the frame with the earliest deadline first."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serving.errors import Overloaded, TooLate
from serving.service_times import ServiceTimes

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Done(Generic[Made]):
    """What work made, and how long it had waited for a thread."""

    made: Made
    waited_s: float


@dataclass(eq=False, slots=True)
class _Job:
    kind: Hashable
    deadline_s: float
    queued_s: float
    work: Callable[[], Any]
    done: asyncio.Future[Done[Any]]


class Workers:
    """A bounded queue in front of a few threads. Belongs to one event loop.

    Args:
        threads: jobs that run at the same time.
        capacity: jobs that may wait.
        clock: monotonic seconds, on which deadlines are given.
    """

    def __init__(self, threads: int, capacity: int, clock: Callable[[], float]) -> None:
        self.times = ServiceTimes()
        self._clock = clock
        self._threads = threads
        self._capacity = capacity
        self._order = itertools.count()
        self._heap: list[tuple[float, int, _Job]] = []
        self._running: dict[_Job, float] = {}
        self._filled = asyncio.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tier")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def queued(self) -> int:
        """Jobs that wait for a thread."""
        return sum(not job.done.done() for _, _, job in self._heap)

    @property
    def wait_s(self) -> float:
        """How long a job arriving now would wait, as far as the kinds of work are known."""
        now = self._clock()
        running = sum(max(0.0, began + self.times.mean_s(job.kind) - now) for job, began in self._running.items())
        if not self._heap and len(self._running) < self._threads:
            return 0.0
        waiting = sum(self.times.mean_s(job.kind) for _, _, job in self._heap if not job.done.done())
        return (running + waiting) / self._threads

    def start(self) -> None:
        """Take work from now on."""
        self._tasks = [asyncio.create_task(self._serve(), name=f"worker {n}") for n in range(self._threads)]

    async def stop(self) -> None:
        """Cancel what waits, let what runs finish, end the threads."""
        for task in self._tasks:
            task.cancel()
        for _, _, job in self._heap:
            job.done.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    async def do(self, kind: Hashable, deadline_s: float, work: Callable[[], Made]) -> Done[Made]:
        """Do work in a thread when its turn comes. Cancelling the caller withdraws it, if it has not begun.

        Raises:
            Overloaded: too much waits.
            TooLate: its turn came when even the best time seen for this kind would end after the deadline.
            Exception: whatever the work raises.
        """
        if self.queued >= self._capacity:
            raise Overloaded(int(self.wait_s * 1e6))
        done: asyncio.Future[Done[Made]] = asyncio.get_running_loop().create_future()
        job = _Job(kind, deadline_s, self._clock(), work, done)
        heapq.heappush(self._heap, (deadline_s, next(self._order), job))
        self._filled.set()
        return await done

    async def _serve(self) -> None:
        while True:
            while not self._heap:
                self._filled.clear()
                await self._filled.wait()
            _, _, job = heapq.heappop(self._heap)
            if not job.done.done():
                await self._run(job)

    async def _run(self, job: _Job) -> None:
        began = self._clock()
        if began + self.times.fastest_s(job.kind) > job.deadline_s:
            self.times.doubt(job.kind)
            job.done.set_exception(TooLate("the frame could not be answered in the time it had left"))
            return
        self._running[job] = began
        running = asyncio.get_running_loop().run_in_executor(self._pool, job.work)
        try:
            await asyncio.wait([running])
        finally:
            del self._running[job]
        self.times.learn(job.kind, self._clock() - began)
        _settle(job.done, running, began - job.queued_s)


def _settle(done: asyncio.Future[Done[Any]], running: asyncio.Future[Any], waited_s: float) -> None:
    """Pass on how work ended; nobody listens any more if the caller was cancelled."""
    error = running.exception()
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(Done(running.result(), waited_s))
