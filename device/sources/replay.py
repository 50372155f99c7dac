"""Anything that can be read again: files, videos, signals and Python's own iterators, at a steady rate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from device.sources.source import Captured, Clock, Item


class Replay:
    """Gives item `n` at `n / rate_hz` after the start; reading does not hold up the event loop.

    Args:
        items: begins one pass; called again for each.
        rate_hz: items per second.
        loop: whether to begin anew after the last item. An empty pass ends it in any case.
        clock: monotonic seconds.
    """

    def __init__(self, items: Callable[[], Iterator[Item]], *, rate_hz: float, loop: bool, clock: Clock) -> None:
        self._items = items
        self._loop = loop
        self._clock = clock
        self.interval_s = 1.0 / rate_hz

    async def frames(self) -> AsyncGenerator[Captured, None]:
        start_s, number, before = self._clock(), 0, -1
        closed = threading.Event()
        try:
            while number > before and (self._loop or number == 0):
                before, items = number, self._items()
                due_s = start_s + number * self.interval_s
                while (item := await asyncio.to_thread(self._next, items, due_s, closed)) is not None:
                    yield Captured(item[0], due_s, item[1])
                    number += 1
                    due_s = start_s + number * self.interval_s
        finally:
            closed.set()

    def _next(self, items: Iterator[Item], due_s: float, closed: threading.Event) -> Item | None:
        """The next item when it is due; None where there is none.

        Blocks: a thread wakes within a tenth of a millisecond, where an event loop rounds up to the next one. Reads
        half an interval early, so that it takes no processor from the item before in its first moments.
        """
        closed.wait(max(0.0, due_s - self.interval_s / 2 - self._clock()))
        item = next(items, None)
        if item is not None:
            closed.wait(max(0.0, due_s - self._clock()))
        return item

    def samples(self, number: int) -> list[NDArray[Any]]:
        return list(islice((content for _, content in self._items() if not isinstance(content, str)), number))
