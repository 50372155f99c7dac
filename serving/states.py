"""What a tier keeps for streams between their frames: bounded in bytes, dropped when idle, one step at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from runtime.stage import State
from runtime.streams import Sent
from serving.errors import Overloaded

_FULL_US: Final = 100_000
"""When to come back to a tier whose states are all at work."""
_MOST_STREAMS: Final = 65536


@dataclass(eq=False, slots=True)
class Kept:
    """What is kept for one stream.

    Attributes:
        states: by segment, after its last step here.
        steps: by segment, how many it has gone through.
        sent: what was passed up of it.
        here: whether this tier finishes it: the one above failed it once.
    """

    states: dict[int, State] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    sent: Sent = field(default_factory=Sent)
    here: bool = False
    used_s: float = 0.0
    counted_bytes: int = 0
    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def nbytes(self) -> int:
        """Of its states and of what was sent."""
        return self.sent.nbytes + sum(array.nbytes for state in self.states.values() for array in state)

    def begun(self, segments: Iterable[int], step: int) -> dict[int, State] | None:
        """The states on which segments run a step, empty for step 0; None where they are not here."""
        if step == 0:
            return {}
        wanted = list(segments)
        if any(self.steps.get(segment) != step for segment in wanted):
            return None
        return {segment: self.states[segment] for segment in wanted if segment in self.states}

    def resume_at(self, segments: Iterable[int], step: int) -> int:
        """The step from which the stream is needed again, where `begun` has no states for a step."""
        stand = {self.steps.get(segment, 0) for segment in segments}
        at = stand.pop() if len(stand) == 1 else 0
        return at if at < step else 0

    def end(self, states: dict[int, State], segments: Iterable[int], step: int) -> None:
        """Segments have gone through a step, and left these states."""
        self.states |= states
        self.steps |= dict.fromkeys(segments, step + 1)


class States:
    """What is kept for all streams of a tier. Belongs to one event loop.

    Args:
        most_bytes: of all streams together; those unused for longest make room, the last one used never does.
        idle_s: an unused stream is dropped after this.
        clock: monotonic seconds.
    """

    def __init__(self, most_bytes: int, idle_s: float, clock: Callable[[], float]) -> None:
        self._most_bytes = most_bytes
        self._idle_s = idle_s
        self._clock = clock
        self._streams: OrderedDict[Hashable, Kept] = OrderedDict()
        self._nbytes = 0
        self.dropped = 0

    def explained(self) -> dict[str, object]:
        """For a person."""
        return {"streams": len(self._streams), "bytes": self._nbytes, "dropped": self.dropped}

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[Kept]:
        """What is kept for a stream, for one step: the steps of a stream follow each other.

        Raises:
            Overloaded: too many streams are at work at this moment to begin another.
        """
        kept = self._found(key)
        kept.users += 1
        try:
            async with kept.turn:
                yield kept
        finally:
            kept.users -= 1
            kept.used_s = self._clock()
            if self._streams.get(key) is kept:
                self._streams.move_to_end(key)
                self._nbytes += kept.nbytes - kept.counted_bytes
                kept.counted_bytes = kept.nbytes
                self._make_room(but=1)

    def _found(self, key: Hashable) -> Kept:
        self._drop_idle()
        kept = self._streams.get(key)
        if kept is None:
            self._make_room()
            if self._full:
                raise Overloaded(_FULL_US)
            kept = self._streams[key] = Kept(used_s=self._clock())
        return kept

    def _drop_idle(self) -> None:
        oldest_s = self._clock() - self._idle_s
        while self._streams:
            key, kept = next(iter(self._streams.items()))
            if kept.users or kept.used_s >= oldest_s:
                return
            self._drop(key)

    @property
    def _full(self) -> bool:
        return self._nbytes > self._most_bytes or len(self._streams) >= _MOST_STREAMS

    def _make_room(self, but: int = 0) -> None:
        """Drop those unused for longest, as far as needed; never one at work, nor the last `but` ones."""
        if not self._full:
            return
        for key, kept in list(self._streams.items())[: len(self._streams) - but]:
            if not self._full:
                return
            if not kept.users:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self._nbytes -= self._streams.pop(key).counted_bytes
        self.dropped += 1
