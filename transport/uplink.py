"""What waits to be written to one stream upwards: the most urgent first, long frames in parts, and all of it here.

A frame leaves whole while little is on the way. Beyond that it goes in chunks, be it in a single one, because those are
confirmed: so what waits, waits here, where it can be overtaken and withdrawn, and not in a socket buffer.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocol.chunks import Chunk, Front, encode_chunk
from protocol.limits import MAX_MESSAGE_BYTES, MAX_PARTED, PACK_BYTES
from protocol.messages import encode_upward
from transport.seam import Outgoing
from transport.window import Mark, Window

AT_ONCE: Final = 0.0
"""Due before every frame: probes, cancellations."""
_CHUNK_FRAMING_BYTES: Final = 64
"""What a chunk may need besides its part of the frame."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A message, and how far it has been written.

    Attributes:
        due_s: when it is of no more use.
        frame_id: 0 where it sends no frame.
        head: its bytes; empty once all is written, or nothing more shall be ...
        body: ... and those behind. Joined only as it leaves, for there may be megabytes.
        size: of the message, as far as it shall leave.
        put_s: when it came here.
        written: so many bytes have left.
        whole: it has left, and whole.
        mark: where in the stream that was, if the window has to know.
        total: of the whole message, where it is cut short; else 0.
    """

    due_s: float
    frame_id: int
    head: bytes
    body: bytes
    size: int
    put_s: float
    written: int = 0
    whole: bool = False
    mark: Mark | None = None
    total: int = 0

    def cut(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`."""
        before = len(self.head)
        return self.head[start:stop] + self.body[max(start - before, 0) : max(stop - before, 0)]


class Uplink:
    """A queue with one consumer. Earliest deadline first meets all where all can be met (Liu and Layland, 1973).

    Args:
        window: bounds what is on its way of frames in parts.
        clock: monotonic seconds.
    """

    def __init__(self, window: Window, clock: Callable[[], float]) -> None:
        self.in_parts = False
        """Whether the tier reads chunks; set it when that is known."""
        self.takes_fronts = False
        """Whether it reads frames that are cut short; set it when that is known."""
        self.most_bytes = MAX_MESSAGE_BYTES
        """Longer messages must be cut; set it when that is known."""
        self.whole_bytes = 0
        """Messages up to this length are never cut; set it when that is known."""
        self._window = window
        self._clock = clock
        self._heap: list[tuple[float, int, Waiting]] = []
        """By when they are due, then by age; those without data any more are skipped."""
        self._frames: dict[int, Waiting] = {}
        """Until they have ended."""
        self._begun: list[Waiting] = []
        """Frames of which some chunks are written."""
        self._held_s = -math.inf
        """When a frame was last held that would have left whole."""
        self._numbers = itertools.count()
        self._idle: asyncio.Future[None] | None = None
        """What the consumer waits for."""

    def __len__(self) -> int:
        return len(self._heap)

    def __contains__(self, frame_id: int) -> bool:
        return frame_id in self._frames

    def put(self, data: bytes) -> None:
        """A message to be written before all frames."""
        self._put(Waiting(AT_ONCE, 0, data, b"", len(data), 0.0))

    def put_frame(self, frame_id: int, head: bytes, body: bytes, put_s: float, due_s: float) -> None:
        """The message of a frame, in two pieces; `withdraw` or `ended` must follow."""
        waiting = self._frames[frame_id] = Waiting(due_s, frame_id, head, body, len(head) + len(body), put_s)
        self._put(waiting)

    def _put(self, waiting: Waiting) -> None:
        heapq.heappush(self._heap, (waiting.due_s, next(self._numbers), waiting))
        self.wake()

    def withdraw(self, frame_id: int) -> int | None:
        """Take a frame back; how many of its bytes are written already, or None if all are: then it stays."""
        waiting = self._frames.get(frame_id)
        if waiting is None or not waiting.head:
            return None
        del self._frames[frame_id]
        self._finish(waiting)
        self.wake()
        return waiting.written

    def written(self, frame_id: int) -> float:
        """How many bytes of a frame's message have left; infinite where nothing more is to leave."""
        waiting = self._frames.get(frame_id)
        return waiting.written if waiting is not None and waiting.head else math.inf

    def shorten(self, frame_id: int, body_bytes: int) -> tuple[int, int] | None:
        """Let only so many bytes of a frame's body leave, or those that have.

        Returns:
            Bytes of the message, before and now; None where it goes as it is: all of it has left, or the tier reads
            whole frames only.
        """
        waiting = self._frames.get(frame_id)
        if waiting is None or not waiting.head or not self.takes_fronts:
            return None
        before, stop = waiting.size, max(len(waiting.head) + body_bytes, waiting.written)
        if stop >= before:
            return None
        waiting.total, waiting.size = waiting.total or before, stop
        if waiting.written == stop:
            self._end_short(waiting)
            self._finish(waiting)
        self.wake()
        return before, stop

    def ended(self, frame_id: int) -> Waiting | None:
        """A frame was answered or refused, so it has arrived; what is known of it."""
        waiting = self._frames.pop(frame_id, None)
        if waiting is None:
            return None
        if waiting.head:  # the tier knows the answer before it has the frame
            self._finish(waiting)
        if waiting.mark is not None:
            self._window.arrived(waiting.mark, self._clock())
            if self._heap:
                self.wake()
        return waiting

    def wake(self) -> None:
        """There is something to write, or the window may have room again."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def take(self) -> list[Outgoing]:
        """The messages to write next, as many as go together: a pack arrives as one, and is confirmed as one."""
        loop = asyncio.get_running_loop()
        while not (found := self._next()):
            self._idle = loop.create_future()
            silent_in_s = self._window.silent_in_s(self._clock()) if self._heap else 0.0
            silence = loop.call_later(silent_in_s, self.wake) if silent_in_s > 0 else None
            await self._idle
            if silence is not None:
                silence.cancel()
        return found

    def _next(self) -> list[Outgoing]:
        found: list[Outgoing] = []
        size, most = 0, min(PACK_BYTES, self._window.chunk_bytes)
        while size < most:
            waiting = self._first()
            data = None if waiting is None else self._leaving(waiting)
            if waiting is None or data is None:
                break
            found.append(Outgoing(data, waiting.due_s))
            size += len(data)
        return found

    def _first(self) -> Waiting | None:
        """The most urgent; if the tier has as many unfinished frames as it may, of those."""
        heap = self._heap
        while heap and not heap[0][2].head:
            heapq.heappop(heap)
        if not heap:
            return None
        first = heap[0][2]
        if first.frame_id and not first.written and len(self._begun) >= MAX_PARTED:
            return min(self._begun, key=lambda waiting: waiting.due_s)
        return first

    def _leaving(self, waiting: Waiting) -> bytes | None:
        """What may leave now of a message: all, its next chunk, or None."""
        chunk_bytes = min(self._window.chunk_bytes, self.most_bytes - _CHUNK_FRAMING_BYTES)
        left = waiting.size - waiting.written
        in_one = left <= chunk_bytes + _CHUNK_FRAMING_BYTES
        if self._goes_whole(waiting, in_one):
            data, waiting.whole = waiting.cut(0, waiting.size), True
            self._finish(waiting)
            if waiting.frame_id and waiting.size > self.whole_bytes:
                waiting.mark = self._window.sent_whole(waiting.size, self._clock())
            return data
        size = left if in_one else chunk_bytes
        if self._window.has_room_for(size):
            return self._part(waiting, size)
        if size == waiting.size:
            self._held_s = self._clock()
        return None

    def _goes_whole(self, waiting: Waiting, in_one: bool) -> bool:
        if waiting.total:
            return False
        if not waiting.frame_id or not self.in_parts or waiting.size <= self.whole_bytes:
            return True
        if not in_one or waiting.written:
            return False
        if not self._was_held(waiting) and self._window.lets_go(waiting.size):
            return True
        return self._window.silent_in_s(self._clock()) <= 0

    def _was_held(self, waiting: Waiting) -> bool:
        """Whether it has waited for room: then it goes in chunks, which say for how long."""
        return waiting.put_s <= self._held_s

    def _part(self, waiting: Waiting, size: int) -> bytes:
        now_s, offset = self._clock(), waiting.written
        part = waiting.cut(offset, offset + size)
        is_last = offset + size == waiting.size
        waited_us = self._waited_us(waiting) if is_last else 0
        waiting.written += size
        is_part = size < waiting.size
        self._window.sent(size, now_s, is_part=is_part, is_telling=is_part or self._was_held(waiting))
        if not offset:
            self._begun.append(waiting)
        if is_last and waiting.total:
            self._end_short(waiting)
        if is_last:
            self._finish(waiting)
        return encode_chunk(Chunk(waiting.frame_id, waiting.total or waiting.size, offset, part, waited_us))

    def _end_short(self, waiting: Waiting) -> None:
        """Say that nothing more of it comes, right behind what has left."""
        head_bytes = len(waiting.head)
        payload = waiting.body[: waiting.size - head_bytes]
        self.put(encode_upward(Front.of(waiting.frame_id, head_bytes, payload, self._waited_us(waiting))))

    def _waited_us(self, waiting: Waiting) -> int:
        return min(int(1e6 * (self._clock() - waiting.put_s)), (1 << 32) - 1)

    def _finish(self, waiting: Waiting) -> None:
        """Nothing more of it is written."""
        waiting.head = waiting.body = b""
        if waiting.written:
            self._begun.remove(waiting)
        if self._heap[0][2] is waiting:
            heapq.heappop(self._heap)
