"""The order of work, and what is turned away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from serving.errors import Overloaded, TooLate
from serving.workers import Workers


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def workers(clock: Callable[[], float], capacity: int = 8) -> AsyncIterator[Workers]:
    made = Workers(1, capacity, clock)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def occupied(made: Workers) -> AsyncIterator[None]:
    """While entered, the one thread is busy."""
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def occupy() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    task = asyncio.create_task(made.do("occupying", 1e9, occupy))
    await begun.wait()
    try:
        yield
    finally:
        release.set()
        await task


async def test_the_earliest_deadline_goes_first() -> None:
    order: list[float] = []
    async with workers(Clock()) as made:
        async with occupied(made):
            waiting = [
                asyncio.create_task(made.do("work", deadline_s, partial(order.append, deadline_s)))
                for deadline_s in (103.0, 101.0, 104.0, 102.0)
            ]
            await asyncio.sleep(0)
            assert made.queued == 4
        await asyncio.gather(*waiting)
    assert order == [101.0, 102.0, 103.0, 104.0]


async def test_work_that_can_no_longer_be_in_time_is_not_done() -> None:
    clock = Clock()
    async with workers(clock) as made:
        made.times.learn("work", 2.0)
        with pytest.raises(TooLate):
            await made.do("work", clock.now_s + 1.9, lambda: pytest.fail("done all the same"))
        assert (await made.do("work", clock.now_s + 2.1, lambda: 5)).made == 5


async def test_one_slow_run_does_not_lock_its_kind_out() -> None:
    clock = Clock()
    async with workers(clock) as made:
        made.times.learn("work", 2.0)
        refused = 0
        while True:
            try:
                await made.do("work", clock.now_s + 1.0, lambda: None)
                break
            except TooLate:
                refused += 1
        assert 0 < refused < 20


async def test_a_full_queue_refuses_and_tells_the_wait() -> None:
    clock = Clock()
    async with workers(clock, capacity=2) as made:
        made.times.learn("work", 0.25)
        async with occupied(made):
            waiting = [asyncio.create_task(made.do("work", 1e9, lambda: None)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded) as raised:
                await made.do("work", 1e9, lambda: None)
            assert raised.value.wait_us == 500_000
            assert made.wait_s == pytest.approx(0.5)
        await asyncio.gather(*waiting)
        assert made.wait_s == 0.0


async def test_work_whose_caller_went_away_is_not_begun() -> None:
    async with workers(Clock()) as made:
        async with occupied(made):
            waiting = asyncio.create_task(made.do("work", 101.0, lambda: pytest.fail("begun all the same")))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert made.queued == 0
        assert (await made.do("work", 1e9, lambda: "next")).made == "next"


async def test_errors_of_the_work_reach_its_caller_and_the_thread_goes_on() -> None:
    async with workers(Clock()) as made:
        with pytest.raises(ZeroDivisionError):
            await made.do("work", 1e9, lambda: 1 // 0)
        assert (await made.do("work", 1e9, lambda: 3)).made == 3


async def test_the_time_in_the_queue_is_told() -> None:
    clock = Clock()
    async with workers(clock) as made:
        async with occupied(made):
            waiting = asyncio.create_task(made.do("work", 1e9, lambda: None))
            await asyncio.sleep(0)
            clock.now_s += 0.75
        assert (await waiting).waited_s == pytest.approx(0.75)
