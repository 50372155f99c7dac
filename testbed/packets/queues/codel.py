"""CoDel: drops by how long packets have waited, not by how many wait (Nichols and others, RFC 8289)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Final

from testbed.link.capacity import PACKET_BYTES
from testbed.packets.packet import Packet
from testbed.packets.queues.server import Server

TARGET_S: Final = 0.005
INTERVAL_S: Final = 0.1
"""The usual ones of section 4.4: a wait that is bearable for good, and a time in which a sender can react."""
_SOON: Final = 16
"""Dropping that starts again within so many intervals goes on about where it was (section 5.6)."""


class CoDel:
    """Keeps packets until the bottleneck is free, and decides then; what finds the queue full is lost at once.

    Args:
        server: takes what is not dropped.
        queue_bytes: bound on what waits.
    """

    def __init__(
        self, server: Server, queue_bytes: int, *, target_s: float = TARGET_S, interval_s: float = INTERVAL_S
    ) -> None:
        self.dropped = 0
        """By the rule; not those that found it full."""
        self._server = server
        self._queue_bytes = queue_bytes
        self._target_s = target_s
        self._interval_s = interval_s
        self._queue: deque[Packet] = deque()
        self._waiting_bytes = 0
        self._free_s = -math.inf
        self._above_since_s: float | None = None
        """When packets will have waited too long for a whole interval."""
        self._dropping = False
        self._next_drop_s = -math.inf
        self._count = self._count_before = 0

    def __call__(self, packet: Packet) -> Iterable[Packet]:
        """A packet comes; gives what is decided by then."""
        before = self.released(packet.at_s)
        size = self._server.size(packet.data)
        if self._waiting_bytes + size <= self._queue_bytes:
            self._queue.append(packet)
            self._waiting_bytes += size
        return [*before, *self.released(packet.at_s)]

    @property
    def next_s(self) -> float:
        """When the first that waits is decided on; infinite if none waits."""
        return max(self._free_s, self._queue[0].at_s) if self._queue else math.inf

    def released(self, now_s: float) -> list[Packet]:
        """The packets that the bottleneck has begun to take by now, with the times at which they have left it."""
        found = []
        while self.next_s <= now_s:
            at_s = self.next_s
            packet = self._next(at_s)
            if packet is not None:
                self._free_s = self._server.book(at_s, self._server.size(packet.data))
                found.append(Packet(packet.data, self._free_s))
        return found

    def _next(self, now_s: float) -> Packet | None:
        """Whose turn it is, those before it dropped (`dequeue` of the RFC)."""
        packet, too_long = self._taken(now_s)
        if self._dropping:
            self._dropping = too_long
            while self._dropping and now_s >= self._next_drop_s:
                self.dropped += 1
                self._count += 1
                packet, self._dropping = self._taken(now_s)
                if self._dropping:
                    self._next_drop_s += self._pause_s
        elif too_long:
            self.dropped += 1
            packet, _ = self._taken(now_s)
            self._dropping = True
            lately = self._count - self._count_before
            soon = now_s - self._next_drop_s < _SOON * self._interval_s
            self._count = self._count_before = lately if soon and lately > 1 else 1
            self._next_drop_s = now_s + self._pause_s
        return packet

    @property
    def _pause_s(self) -> float:
        """Until the next drop: shorter and shorter, as the square root of TCP's loss asks for (section 3.3)."""
        return self._interval_s / math.sqrt(self._count)

    def _taken(self, now_s: float) -> tuple[Packet | None, bool]:
        """The first of the queue, and whether packets have waited too long for an interval (`dodequeue`)."""
        if not self._queue or self._queue[0].at_s > now_s:
            self._above_since_s = None
            return None, False
        packet = self._queue.popleft()
        self._waiting_bytes -= self._server.size(packet.data)
        if now_s - packet.at_s < self._target_s or self._waiting_bytes <= PACKET_BYTES:
            self._above_since_s = None
            return packet, False
        if self._above_since_s is None:
            self._above_since_s = now_s + self._interval_s
            return packet, False
        return packet, now_s >= self._above_since_s
