"""Threads that do what the scheduler says, and the event loop's way to them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from protocol.errors import IsthmusError
from runtime.errors import BundleError
from runtime.stretch import Stretch
from serving.errors import Overloaded, TooLate
from serving.passage import Passage
from serving.scheduling.jobs import Batch, Job, Path, Refused, Wait
from serving.scheduling.scheduler import Scheduler
from serving.steps import Step

Asked = tuple[Passage, asyncio.Future[None]]


class Workers:
    """A few threads, one scheduler. Belongs to one event loop.

    Threads take their next batch themselves, so that a frame's steps follow each other without a way through the loop.

    Args:
        threads: batches done at the same time.
        capacity: frames that may be here and unfinished.
        clock: monotonic seconds, on which deadlines are given.
        weights: of senders, see `Scheduler`.
        stretch: makes work slower, for an emulated tier.
    """

    def __init__(
        self,
        threads: int,
        capacity: int,
        clock: Callable[[], float],
        *,
        weights: Mapping[str, float] | None = None,
        stretch: Stretch | None = None,
    ) -> None:
        self.scheduler = Scheduler(threads=threads, capacity=capacity, weights=weights)
        self._clock = clock
        self._threads = threads
        self._stretch = stretch or Stretch()
        self._changed = threading.Condition()
        """Its lock guards the scheduler and `_stopping`."""
        self._stopping = False
        self._asked: dict[Job, Asked] = {}
        self._at_work: dict[int, Batch] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tier")
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def queued(self) -> int:
        """Frames that wait for a thread."""
        return self.scheduler.queued  # one length, read at once

    @property
    def wait_s(self) -> float:
        """How long a frame arriving now would wait, as far as the costs are known."""
        with self._changed:
            return self.scheduler.wait_s(self._clock())

    def allow(self, threads: int) -> None:
        """Do at most so many batches at the same time from now on, of the threads that there are."""
        with self._changed:
            self.scheduler.allow(min(threads, self._threads))
            self._changed.notify_all()

    def estimate_s(self, path: Path) -> float:
        """How long a path takes for one frame alone."""
        with self._changed:
            return self.scheduler.estimate_s(path)

    def explained(self) -> dict[str, object]:
        """What the scheduler knows and did."""
        with self._changed:
            return self.scheduler.explained(self._clock())

    def start(self) -> None:
        """Take work from now on."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._supervise(n), name=f"worker {n}") for n in range(self._threads)]

    async def ended(self) -> None:
        """Return when all threads have ended, or raise what broke the first of them: then no frame is done any more."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Cancel what waits, let what runs finish, end the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for _, answered in self._asked.values():
            answered.cancel()
        self._pool.shutdown(wait=False)

    async def do(self, passage: Passage, path: Path, sender: str, *, score: float = 0.0) -> None:
        """Take a frame through a path. Cancelling the caller withdraws it from all steps not yet begun.

        Args:
            passage: the frame.
            path: what is to be done.
            sender: whose share it counts against.
            score: what is lost if it is not done here; see `Job`.

        Raises:
            Overloaded: it could not be in time behind what is here already, or was pushed out.
            TooLate: even alone it could not be in time, or no longer.
            BundleError: what a step found wrong with it.
        """
        await self._do(passage, Job(sender, passage.deadline_s, path, score=score))

    async def do_if_idle(self, passage: Passage, path: Path, sender: str, until_s: float) -> None:
        """The same when nothing else is to be done, if it can be begun by `until_s`.

        Raises:
            TooLate: the tier was not idle until then, or too late.
            Overloaded, BundleError: as for `do`.
        """
        job = Job(sender, passage.deadline_s, path, spare=True)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, until_s - self._clock()), self._leave_unbegun, job)
        try:
            await self._do(passage, job)
        finally:
            timer.cancel()

    async def _do(self, passage: Passage, job: Job) -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[job] = (passage, answered)
        began_s, worked_s = self._clock(), passage.decode_s + passage.run_s
        with self._changed:
            refused = self.scheduler.offer(job, began_s)
            self._changed.notify()
        self._turn_away(refused)
        try:
            await answered
        finally:
            if self._asked.pop(job, None) is not None:
                with self._changed:
                    self.scheduler.withdraw(job)
            passage.queue_s += max(0.0, self._clock() - began_s - (passage.decode_s + passage.run_s - worked_s))

    def _leave_unbegun(self, job: Job) -> None:
        """Give up a spare job that no thread has taken."""
        with self._changed:
            if self.scheduler.begun(job):
                return
            self.scheduler.withdraw(job)
        self._turn_away([Refused(job, late=True)])

    async def _supervise(self, number: int) -> None:
        """Keep a thread at work; if a step fails in a way that it never should, its frames fail, and work goes on."""
        assert self._loop is not None
        while not self._stopping:
            working = self._loop.run_in_executor(self._pool, self._work, number)
            await asyncio.wait([working])
            error = working.exception()
            if error is not None:
                batch = self._at_work.pop(number, None)
                if batch is None:
                    raise error
                self._conclude(batch, dict.fromkeys(batch.jobs, error))

    def _work(self, number: int) -> None:
        """In a thread: batch after batch."""
        batch = self._taken()
        while batch is not None:
            self._at_work[number] = batch
            faults = self._performed(batch)
            del self._at_work[number]
            batch = self._conclude(batch, faults, again=True) or self._taken()

    def _taken(self) -> Batch | None:
        """The next batch, as soon as there is one; None when it is time to stop."""
        with self._changed:
            while not self._stopping:
                now_s = self._clock()
                chosen, late = self.scheduler.next(now_s)
                self._tell(self._turn_away, late)
                if isinstance(chosen, Batch):
                    return chosen
                self._changed.wait(chosen.until_s - now_s if isinstance(chosen, Wait) else None)
        return None

    def _performed(self, batch: Batch) -> dict[Job, BaseException]:
        """Do a batch's step; what is wrong with single frames of it."""
        step: Step = batch.step  # type: ignore[assignment]
        asked = [(job, self._asked.get(job)) for job in batch.jobs]
        passages = {found[0]: job for job, found in asked if found is not None}
        if not passages:
            return {}
        began_s = self._clock()
        faults = self._stretch.call(each_if_not_all, step, list(passages))
        took_s = self._clock() - began_s
        for passage in passages:
            if step.decodes:
                passage.decode_s += took_s
            else:
                passage.run_s += took_s
                passage.batch, passage.batch_s = batch, took_s
        return {passages[passage]: fault for passage, fault in faults.items()}

    def _conclude(self, batch: Batch, faults: Mapping[Job, BaseException], *, again: bool = False) -> Batch | None:
        """In any thread: free the jobs of a batch, and tell those that are done with.

        Returns:
            With `again`, the next batch, if there is one at once: taken on the way, without a second wait for the lock.
        """
        chosen: Batch | Wait | None = None
        late: list[Refused] = []
        with self._changed:
            now_s = self._clock()
            if again and not faults and not self._stopping:
                following = self.scheduler.follow(batch, now_s)
                if following is not None:
                    return following
            through = self.scheduler.done(batch, now_s - batch.began_s, faults)
            if again and not self._stopping and self.scheduler.queued:
                chosen, late = self.scheduler.next(now_s)
            if self._threads > 1 or not again:
                self._changed.notify()
        if through or faults:
            self._tell(self._settle, through, faults)
        self._tell(self._turn_away, late)
        return chosen if isinstance(chosen, Batch) else None

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        """Have the event loop call something, unless there is nothing to say."""
        assert self._loop is not None
        if any(arguments):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _settle(self, through: list[Job], faults: Mapping[Job, BaseException]) -> None:
        for job in through:
            answered = self._answer_of(job)
            if answered is not None:
                answered.set_result(None)
        for job, fault in faults.items():
            answered = self._answer_of(job)
            if answered is not None:
                answered.set_exception(fault)

    def _turn_away(self, refused: list[Refused]) -> None:
        for one in refused:
            answered = self._answer_of(one.job)
            if answered is not None:
                answered.set_exception(_refusal(one))

    def _answer_of(self, job: Job) -> asyncio.Future[None] | None:
        _, answered = self._asked.pop(job, (None, None))
        return None if answered is None or answered.done() else answered


def each_if_not_all(step: Step, passages: list[Passage]) -> Mapping[Passage, IsthmusError]:
    """A step for all at once; where that fails, one by one, so that only those at fault do."""
    try:
        return step(passages)
    except BundleError as exc:
        if len(passages) == 1:
            return {passages[0]: exc}
    faults: dict[Passage, IsthmusError] = {}
    for passage in passages:
        faults |= each_if_not_all(step, [passage])
    return faults


def _refusal(refused: Refused) -> IsthmusError:
    if refused.late:
        return TooLate("the frame could not be answered in the time it had left")
    return Overloaded(int(refused.retry_after_s * 1e6))
