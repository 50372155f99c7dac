"""First in, first out; what finds it full is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from testbed.packets.act import Act
from testbed.packets.packet import Packet
from testbed.packets.queues.server import Server


def drop_tail(server: Server, queue_bytes: int) -> Act:
    """The one that is leaving counts as queued until its last bit has left."""
    queue: deque[tuple[float, int]] = deque()
    queued_bytes = 0

    def act(packet: Packet) -> Iterable[Packet]:
        nonlocal queued_bytes
        while queue and queue[0][0] <= packet.at_s:
            queued_bytes -= queue.popleft()[1]
        size = server.size(packet.data)
        if queued_bytes + size > queue_bytes:
            return ()
        leaves_s = server.book(packet.at_s, size)
        queue.append((leaves_s, size))
        queued_bytes += size
        return (Packet(packet.data, leaves_s),)

    return act
