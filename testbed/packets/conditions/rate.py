"""A bottleneck with a queue in front of it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from testbed.link.capacity import constant
from testbed.packets.conditions.act import Act, Condition
from testbed.packets.packet import Packet


class Rate(Condition):
    """Packets leave one after the other at this rate; those that find the queue full are lost (drop-tail).

    Counted are whole IP packets. The one that is leaving counts as queued until its last bit has left.
    """

    needs_order: ClassVar[bool] = True

    kind: Literal["rate"]
    rate_bps: Annotated[float, Field(gt=0, le=1e10)]
    queue_bytes: Annotated[int, Field(ge=1500, le=1 << 26)] = 65536

    def begin(self, chance: random.Random) -> Act:
        capacity = constant(self.rate_bps)
        queue: deque[Packet] = deque()
        queued_bytes = 0

        def act(packet: Packet) -> Iterable[Packet]:
            nonlocal queued_bytes
            while queue and queue[0].at_s <= packet.at_s:
                queued_bytes -= len(queue.popleft().data)
            if queued_bytes + len(packet.data) > self.queue_bytes:
                return ()
            leaving = Packet(packet.data, capacity.book(packet.at_s, len(packet.data)))
            queue.append(leaving)
            queued_bytes += len(packet.data)
            return (leaving,)

        return act
