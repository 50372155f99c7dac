"""What waits to be written to one stream upwards: the most urgent first, long frames in parts."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from protocol.chunks import Chunk, encode_chunk
from protocol.limits import MAX_MESSAGE_BYTES, MAX_PARTED, PACK_BYTES
from transport.seam import Outgoing
from transport.window import Window

AT_ONCE: Final = 0.0
"""Due before every frame: probes, cancellations."""
_CHUNK_FRAMING_BYTES: Final = 64
"""What a chunk may need besides its part of the frame."""


@dataclass(slots=True, order=True)
class Waiting:
    """A message, and how far it has been written. Ordered by when it is due, then by age."""

    due_s: float
    number: int
    frame_id: int = field(compare=False)
    data: bytes = field(compare=False)
    put_s: float = field(compare=False)
    written: int = field(default=0, compare=False)
    withdrawn: bool = field(default=False, compare=False)


class Uplink:
    """A queue with one consumer. Earliest deadline first meets all where all can be met (Liu and Layland, 1973).

    Args:
        window: bounds what is on its way of frames in parts.
        clock: monotonic seconds.
    """

    def __init__(self, window: Window, clock: Callable[[], float]) -> None:
        self.in_parts = False
        """Whether the tier reads chunks; set it when that is known."""
        self.most_bytes = MAX_MESSAGE_BYTES
        """Longer messages must be cut; set it when that is known."""
        self.whole_bytes = 0
        """Messages up to this length are never cut; set it when that is known."""
        self._window = window
        self._clock = clock
        self._heap: list[Waiting] = []
        self._frames: dict[int, Waiting] = {}
        self._begun: list[Waiting] = []
        """Frames of which some chunks are written."""
        self._number = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, data: bytes, *, frame_id: int = 0, due_s: float = AT_ONCE) -> None:
        """A message to be written; with `frame_id`, one that `withdraw` may take back."""
        self._number += 1
        waiting = Waiting(due_s, self._number, frame_id, data, self._clock() if frame_id else 0.0)
        heapq.heappush(self._heap, waiting)
        if frame_id:
            self._frames[frame_id] = waiting
        self._changed.set()

    def withdraw(self, frame_id: int) -> int | None:
        """Take a frame back; how many of its bytes are written already, or None if all are."""
        waiting = self._frames.pop(frame_id, None)
        if waiting is None:
            return None
        waiting.withdrawn, waiting.data = True, b""
        if waiting in self._begun:
            self._begun.remove(waiting)
        self._changed.set()
        return waiting.written

    def wake(self) -> None:
        """The window may have room again."""
        if self._heap:
            self._changed.set()

    async def take(self) -> list[Outgoing]:
        """The messages to write next, about as many as go into one pack; waits for them."""
        while True:
            found = list(self._next())
            if found:
                return found
            self._changed.clear()
            await self._changed.wait()

    def _next(self) -> Iterator[Outgoing]:
        size = 0
        while size < PACK_BYTES:
            waiting = self._first()
            if waiting is None:
                return
            data = waiting.data
            if self._goes_whole(waiting):
                self._done(waiting)
            elif self._window.has_room_for(min(self._chunk_bytes, len(data) - waiting.written)):
                data = self._part(waiting, self._chunk_bytes)
            else:
                return
            size += len(data)
            yield Outgoing(data, waiting.due_s)

    @property
    def _chunk_bytes(self) -> int:
        return min(self._window.chunk_bytes, self.most_bytes - _CHUNK_FRAMING_BYTES)

    def _goes_whole(self, waiting: Waiting) -> bool:
        if waiting.written or not self.in_parts:
            return not waiting.written
        size = len(waiting.data)
        return size <= self.whole_bytes or size <= self._chunk_bytes + _CHUNK_FRAMING_BYTES

    def _first(self) -> Waiting | None:
        """The most urgent; if the tier has as many unfinished frames as it may, of those."""
        while self._heap and self._heap[0].withdrawn:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        first = self._heap[0]
        if first.frame_id and not first.written and len(self._begun) >= MAX_PARTED:
            return min(self._begun)
        return first

    def _part(self, waiting: Waiting, size: int) -> bytes:
        now_s = self._clock()
        part = waiting.data[waiting.written : waiting.written + size]
        chunk = Chunk(waiting.frame_id, len(waiting.data), waiting.written, part)
        if chunk.is_last:
            waited_us = min(int(1e6 * (now_s - waiting.put_s)), (1 << 32) - 1)
            chunk = Chunk(chunk.id, chunk.total, chunk.offset, part, waited_us)
        if not waiting.written:
            self._begun.append(waiting)
        waiting.written += len(part)
        self._window.sent(len(part), now_s)
        if chunk.is_last:
            self._begun.remove(waiting)
            self._done(waiting)
        return encode_chunk(chunk)

    def _done(self, waiting: Waiting) -> None:
        """All of it is written."""
        self._frames.pop(waiting.frame_id, None)
        if self._heap[0] is waiting:
            heapq.heappop(self._heap)
        else:
            waiting.withdrawn, waiting.data = True, b""
