"""Steps that do anything, and workers whose thread is busy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from protocol.messages import Frame
from runtime.errors import BundleError
from serving.passage import Passage
from serving.scheduling.jobs import Path
from serving.workers import Workers

FRAME = Frame.build(id=1, bundle=0, cut=0, level=0, shape=(1,), payload=b"")


class Doing:
    """A step that does anything with its frames."""

    decodes = False
    joins = True

    def __init__(self, do: Callable[[Sequence[Passage]], object] = lambda passages: None) -> None:
        self._do = do
        self.batches: list[list[Passage]] = []

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        self.batches.append(list(passages))
        self._do(passages)
        return {}


def a_passage(time_left_s: float = 60.0) -> Passage:
    now_s = time.monotonic()
    return Passage(FRAME, now_s, now_s + time_left_s, 0)


@asynccontextmanager
async def occupied(made: Workers) -> AsyncIterator[None]:
    """While entered, the one thread is busy."""
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def occupy(_: Sequence[Passage]) -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    task = asyncio.create_task(made.do(a_passage(), Path(Doing(occupy)), "occupant"))
    await begun.wait()
    try:
        yield
    finally:
        release.set()
        await task
