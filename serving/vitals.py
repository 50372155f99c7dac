"""Notices when a part that should run as long as the program has ended by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from serving.errors import PartBroken

_log = logging.getLogger(__name__)


class Vitals:
    """The parts without which a program only seems to be alive: threads, and what reads from a broker.

    Args:
        parts: by name, what returns when the part has ended, and raises what broke it.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._parts = parts
        self.broken: PartBroken | None = None
        """The first part that ended; None while all is well."""

    @property
    def well(self) -> bool:
        """Whether all parts are at work."""
        return self.broken is None

    async def until(self, stop: asyncio.Event) -> None:
        """Return when it is time to end: `stop` is set, or a part has ended, which sets it; `broken` says which."""
        watched = [asyncio.create_task(self._watch(name, ended), name=name) for name, ended in self._parts.items()]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopping, *watched], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            for task in watched:
                task.cancel()
            await asyncio.wait([stopping, *watched])

    async def _watch(self, name: str, ended: Callable[[], Awaitable[None]]) -> None:
        cause: BaseException | None = None
        (outcome,) = await asyncio.gather(ended(), return_exceptions=True)
        if isinstance(outcome, BaseException):
            cause = outcome
        _log.critical("%s has ended by itself; this program ends too", name, exc_info=cause)
        if self.broken is None:
            self.broken = PartBroken(name, cause)
