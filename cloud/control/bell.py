"""Wakes whoever waits for a change."""

from __future__ import annotations

import asyncio


class Bell:
    """Rung from any thread; waited for in one event loop.

    Args:
        revision: the number of changes so far.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self.closed = False

    def ring(self, revision: int) -> None:
        """There was a change; safe from any thread."""
        self._loop.call_soon_threadsafe(self._ring, revision)

    async def wait(self, known: int, timeout_s: float) -> None:
        """Return when there have been other changes than `known`, the time is over, or the bell is closed."""
        rung = self._rung
        if self.closed or self.revision != known or timeout_s <= 0:
            return
        try:
            await asyncio.wait_for(rung.wait(), timeout_s)
        except TimeoutError:
            return

    def close(self) -> None:
        """Let everybody go who waits, now and later."""
        self.closed = True
        self._ring(self.revision)

    def _ring(self, revision: int) -> None:
        self.revision = max(revision, self.revision)
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()
