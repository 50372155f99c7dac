"""One direction of the link: a first-in, first-out queue of bytes in front of a capacity."""

from __future__ import annotations

import math
from collections import deque

from testbed.link.capacity import PACKET_BYTES, Capacity, Unlimited


class Bottleneck:
    """What all connections share in one direction. Times are on the caller's clock, in seconds.

    Until it is started it is open: nothing waits for anything but the delay.

    Args:
        capacity: what it can carry, in time since the start.
        delay_s: propagation behind it.
        queue_bytes: bound on what waits in it.
    """

    def __init__(self, capacity: Capacity, *, delay_s: float, queue_bytes: int) -> None:
        self._played = capacity
        self._capacity: Capacity = Unlimited()
        self._start_s = 0.0
        self._waiting: deque[tuple[float, int]] = deque()  # (when it has left, bytes)
        self._last_s = -math.inf
        self.delay_s = delay_s
        self.queue_bytes = queue_bytes
        self.queued_bytes = 0
        self.was_full = False
        """Set when it is full; the reader unsets it when it has read all that waited at the door."""

    def start(self, now_s: float) -> None:
        """Play the capacity from now on."""
        self._capacity = self._played
        self._start_s = now_s

    def admits(self, now_s: float, reserved_bytes: int = 0) -> int:
        """Bytes that may enter now, 0 if less than a packet has room.

        Args:
            reserved_bytes: part of the bound that waits elsewhere (in socket buffers).
        """
        while self._waiting and self._waiting[0][0] <= now_s:
            self.queued_bytes -= self._waiting.popleft()[1]
        bound = max(self.queue_bytes - reserved_bytes, 2 * PACKET_BYTES)
        room = bound - self.queued_bytes
        if room < PACKET_BYTES:
            self.was_full = True
            return 0
        return room

    @property
    def next_room_s(self) -> float:
        """When the next bytes leave; infinite if none wait or they never will."""
        return self._waiting[0][0] if self._waiting else math.inf

    def ready_s(self, now_s: float) -> float:
        """Since when bytes that are read now have been ready.

        What is found at the door of a queue that was full had been waiting there: it follows without a gap, however
        late this process woke up.
        """
        return min(now_s, self._last_s) if self.was_full else now_s

    def enter(self, ready_s: float, size: int) -> float:
        """Book one packet of at most `PACKET_BYTES`; returns when it has left the bottleneck."""
        finish = self._start_s + self._capacity.book(ready_s - self._start_s, size)
        self._waiting.append((finish, size))
        self.queued_bytes += size
        self._last_s = finish
        return finish
