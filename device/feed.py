"""Hands captured items to one agent: what a source is to it, while the real source outlives it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from numpy.typing import NDArray

from device.sources import Captured


class Feed:
    """A source that somebody else fills. Never holds more than what arrived since the loop last ran."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._items: deque[Captured] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, captured: Captured) -> None:
        """The next item; not after `close`."""
        assert not self._closed
        self._items.append(captured)
        self._changed.set()

    def close(self) -> None:
        """No more come."""
        self._closed = True
        self._changed.set()

    async def frames(self) -> AsyncGenerator[Captured, None]:
        while self._items or not self._closed:
            if self._items:
                yield self._items.popleft()
            else:
                self._changed.clear()
                await self._changed.wait()

    def samples(self, number: int) -> list[NDArray[Any]]:
        return []
