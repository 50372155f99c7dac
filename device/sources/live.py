"""Sources that nobody can read ahead of: a camera, or whatever is written to standard input."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from device.errors import SourceError
from device.sources.source import Captured, Clock, Item

WAITING = 8
"""Items read and not yet taken; reading waits then."""
LOOK_S = 0.2
"""How soon the reading thread sees that it is no longer wanted, where it waits for room."""


class Live:
    """Items as they come, read in a thread of their own; captured when they have been read.

    The thread may be blocked in a read when the source is closed: it is a daemon and ends with the process.

    Args:
        items: begins to read; may raise `SourceError`.
        rate_hz: what to expect.
        clock: monotonic seconds.
    """

    def __init__(self, items: Callable[[], Iterator[Item]], *, rate_hz: float, clock: Clock) -> None:
        self._items = items
        self._clock = clock
        self.interval_s = 1.0 / rate_hz

    async def frames(self) -> AsyncGenerator[Captured, None]:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Captured | SourceError | None] = asyncio.Queue()
        room, closed = threading.Semaphore(WAITING), threading.Event()

        def tell(item: Captured | SourceError | None) -> None:
            while not room.acquire(timeout=LOOK_S):
                if closed.is_set():
                    return
            if not closed.is_set():
                loop.call_soon_threadsafe(arrived.put_nowait, item)

        threading.Thread(target=self._read, args=(tell, closed), name="source", daemon=True).start()
        try:
            while (item := await arrived.get()) is not None:
                room.release()
                if isinstance(item, SourceError):
                    raise item
                yield item
        finally:
            closed.set()

    def samples(self, number: int) -> list[NDArray[Any]]:
        return []

    def _read(self, tell: Callable[[Captured | SourceError | None], None], closed: threading.Event) -> None:
        try:
            for name, content in self._items():
                tell(Captured(name, self._clock(), content))
                if closed.is_set():
                    return
            tell(None)
        except SourceError as exc:
            tell(exc)
