"""Threads and the scheduler together: order, batches, what is turned away, and what becomes of errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from runtime.errors import EngineError
from serving.errors import Overloaded, TooLate
from serving.passage import Passage
from serving.scheduling.jobs import Path
from serving.workers import Workers
from tests.serving.occupied import Doing, a_passage, occupied


@asynccontextmanager
async def workers(capacity: int = 64) -> AsyncIterator[Workers]:
    made = Workers(1, capacity, time.monotonic)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


async def _begun(tasks: Sequence[asyncio.Task[None]], made: Workers) -> None:
    """All of them have asked, and wait for a thread."""
    await asyncio.sleep(0)
    assert made.queued == len(tasks)


async def test_the_earliest_deadline_goes_first() -> None:
    step = Doing()
    async with workers() as made:
        made.scheduler.costs.of(step).forbid_batches()
        passages = [a_passage(left_s) for left_s in (43.0, 41.0, 44.0, 42.0)]
        async with occupied(made):
            waiting = [asyncio.create_task(made.do(passage, Path(step), "device")) for passage in passages]
            await _begun(waiting, made)
        await asyncio.gather(*waiting)
    assert [batch for (batch,) in step.batches] == sorted(passages, key=lambda passage: passage.deadline_s)


async def test_frames_that_come_in_at_different_steps_are_together_further_down() -> None:
    early, late = Doing(), Doing()
    async with workers() as made:
        for size in (1, 2, 4, 8):
            made.scheduler.costs.learn(early, size, 0.001)
            made.scheduler.costs.learn(late, size, 0.1)
        whole, tail = Path(early, late), Path(late)
        async with occupied(made):
            passages = [a_passage() for _ in range(6)]
            paths = [whole, tail, whole, tail, tail, whole]
            waiting = [
                asyncio.create_task(made.do(passage, path, "device"))
                for passage, path in zip(passages, paths, strict=True)
            ]
            await _begun(waiting, made)
        await asyncio.gather(*waiting)
    assert [len(batch) for batch in early.batches] == [3]
    assert [set(batch) for batch in late.batches] == [set(passages)]
    assert all(passage.run_s > 0 and passage.queue_s > 0 for passage in passages)


async def test_work_that_can_no_longer_be_in_time_is_not_done() -> None:
    step = Doing(lambda passages: pytest.fail("done all the same"))
    async with workers() as made:
        made.scheduler.costs.learn(step, 1, 100.0)
        with pytest.raises(TooLate):
            await made.do(a_passage(60.0), Path(step), "device")


async def test_what_could_not_be_in_time_behind_the_others_is_refused_at_once_with_a_hint() -> None:
    step = Doing()
    async with workers() as made:
        made.scheduler.costs.learn(step, 1, 100.0)
        made.scheduler.costs.of(step).forbid_batches()
        async with occupied(made):
            first = asyncio.create_task(made.do(a_passage(140.0), Path(step), "device"))
            await _begun([first], made)
            with pytest.raises(Overloaded) as raised:
                await made.do(a_passage(150.0), Path(step), "device")
            assert 40_000_000 <= raised.value.wait_us <= 70_000_000
            assert made.wait_s == pytest.approx(100.0, rel=0.1)
        await first


async def test_a_full_tier_refuses() -> None:
    step = Doing()
    async with workers(capacity=3) as made, occupied(made):
        waiting = [asyncio.create_task(made.do(a_passage(), Path(step), "device")) for _ in range(2)]
        await _begun(waiting, made)
        with pytest.raises(Overloaded):
            await made.do(a_passage(), Path(step), "device")
        for task in waiting:
            task.cancel()


async def test_work_whose_caller_went_away_is_not_begun() -> None:
    step = Doing(lambda passages: pytest.fail("begun all the same"))
    async with workers() as made:
        async with occupied(made):
            waiting = asyncio.create_task(made.do(a_passage(), Path(step), "device"))
            await _begun([waiting], made)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert made.queued == 0
        await made.do(a_passage(), Path(Doing()), "device")


async def test_only_the_frame_at_fault_fails_where_its_batch_does() -> None:
    bad = a_passage()

    def refuse(passages: Sequence[Passage]) -> None:
        if bad in passages:
            raise EngineError("no")

    step = Doing(refuse)
    async with workers() as made:
        for size in (1, 2, 4):
            made.scheduler.costs.learn(step, size, 0.001)
        async with occupied(made):
            waiting = [
                asyncio.create_task(made.do(passage, Path(step), "device"))
                for passage in (a_passage(), bad, a_passage())
            ]
            await _begun(waiting, made)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in ended] == [type(None), EngineError, type(None)]
    assert len(step.batches[0]) == 3


async def test_an_error_that_should_never_be_reaches_the_caller_and_the_thread_goes_on() -> None:
    async with workers() as made:
        with pytest.raises(ZeroDivisionError):
            await made.do(a_passage(), Path(Doing(lambda passages: 1 // 0)), "device")
        await made.do(a_passage(), Path(Doing()), "device")


async def test_what_waits_when_the_workers_stop_is_cancelled_and_what_runs_ends() -> None:
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def occupy(_: Sequence[Passage]) -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    made = Workers(1, 8, time.monotonic)
    made.start()
    running = asyncio.create_task(made.do(a_passage(), Path(Doing(occupy)), "device"))
    await begun.wait()
    waiting = asyncio.create_task(made.do(a_passage(), Path(Doing()), "device"))
    await _begun([waiting], made)
    stopping = asyncio.create_task(made.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    await asyncio.wait([running, waiting])
    assert waiting.cancelled()
    assert not running.cancelled()
