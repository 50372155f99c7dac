"""The number of workers follows the load, and the tier's threads follow the workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from serving.cluster.errors import ClusterUnusable, WorkerLost
from serving.cluster.messages import Answer, Asked
from serving.cluster.opening import OpenCluster
from serving.cluster.ray_serve import RayWorkers
from serving.cluster.settings import RaySettings
from serving.scheduling.jobs import Path
from serving.workers import Workers
from tests.serving.occupied import Doing, a_passage, occupied


class Counted:
    """Workers that are there as soon as they are wanted."""

    def __init__(self) -> None:
        self.now = 1
        self.unknown = False
        self.asked_for: list[int] = []

    def start(self) -> None: ...

    def stop(self) -> None:
        self.now = 0

    def running(self) -> int:
        if self.unknown:
            raise WorkerLost("nobody knows")
        return self.now

    def scale(self, workers: int) -> None:
        self.asked_for.append(workers)
        self.now = workers

    def run(self, tag: int, batch: Sequence[Asked], timeout_s: float) -> Sequence[Answer]:
        raise NotImplementedError


class Seconds:
    """A clock that a test moves on, second by second."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._ticks: asyncio.Queue[None] = asyncio.Queue()
        self._asleep = asyncio.Event()

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self._asleep.set()
        await self._ticks.get()
        self.now_s += seconds

    async def tick(self) -> None:
        """Wake the sleeper, and return when it sleeps again."""
        self._asleep.clear()
        self._ticks.put_nowait(None)
        async with asyncio.timeout(20):
            await self._asleep.wait()

    async def asleep(self) -> None:
        async with asyncio.timeout(20):
            await self._asleep.wait()


async def test_a_queue_that_grows_makes_workers_and_the_threads_that_wait_for_them() -> None:
    counted, seconds = Counted(), Seconds()
    opened = OpenCluster(RaySettings(least=1, most=4, calm_s=0), counted, seconds, seconds.sleep)
    workers = Workers(opened.threads, 64, time.monotonic)
    workers.start()
    opened.watch(workers)
    await seconds.asleep()
    step = Doing()
    workers.scheduler.costs.learn(step, 1, 1.0)
    workers.scheduler.costs.of(step).forbid_batches()
    async with occupied(workers):
        waiting = [asyncio.create_task(workers.do(a_passage(), Path(step), "device")) for _ in range(3)]
        await asyncio.sleep(0)
        assert workers.queued == 3, "one worker, one thread at work"
        await seconds.tick()
        assert counted.asked_for == [4]
        await asyncio.gather(*waiting)  # by the new threads, for the first one is busy
    counted.unknown = True
    await seconds.tick()
    counted.unknown = False
    await seconds.tick()
    await seconds.tick()
    assert counted.asked_for == [4, 1]
    await opened.stop()
    await workers.stop()
    assert counted.now == 0


def test_a_cluster_of_others_without_a_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    workers = RayWorkers(RaySettings(address="ray.example:6379"), "cloud", [], ("onnxruntime", 1))
    with pytest.raises(ClusterUnusable, match="RAY_AUTH_MODE=token"):
        workers.start()


def test_more_at_least_than_at_most_is_refused() -> None:
    with pytest.raises(ValueError, match="make most at least as large"):
        RaySettings(least=3, most=2)
