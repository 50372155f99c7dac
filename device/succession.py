"""Which generation gets the next frame, and those that are finishing what they have begun."""

from __future__ import annotations

import asyncio

from device.generation import Generation
from device.sources import Captured


class Succession:
    """Belongs to the event loop's thread.

    Args:
        stop: given to every generation.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._current: Generation | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._ended = False

    @property
    def current(self) -> Generation:
        """The one in charge."""
        assert self._current is not None
        return self._current

    def put(self, captured: Captured) -> None:
        """A frame for whoever is in charge."""
        self.current.feed.put(captured)

    def begin(self, generation: Generation) -> None:
        """The next frame goes to this one; the one before it ends when its frames have ended."""
        before, self._current = self._current, generation
        self._serving.add(asyncio.create_task(generation.serve(self._stop), name="generation"))
        if before is not None:
            before.retire()
        if self._ended:
            generation.retire()

    def end(self) -> None:
        """No more frames come."""
        self._ended = True
        self.current.retire()

    async def done(self) -> None:
        """Wait until every generation has ended.

        Raises:
            HistoryError: as `Agent.run`; the others are stopped then.
        """
        try:
            while self._serving:
                ended, _ = await asyncio.wait(set(self._serving), return_when=asyncio.FIRST_COMPLETED)
                self._serving -= ended
                for task in ended:
                    task.result()
        finally:
            for task in self._serving:
                task.cancel()
            if self._serving:
                await asyncio.wait(self._serving)
