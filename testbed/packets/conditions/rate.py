"""A bottleneck with a queue in front of it."""

from __future__ import annotations

import random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from testbed.link.capacity import constant
from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition
from testbed.packets.queues import Discipline, queue_named
from testbed.packets.queues.server import serving


class Rate(Condition):
    """Packets leave one after the other at this rate; whole IP packets count."""

    needs_order: ClassVar[bool] = True

    kind: Literal["rate"]
    rate_bps: Annotated[float, Field(gt=0, le=1e10)]
    queue_bytes: Annotated[int, Field(ge=1500, le=1 << 26)] = 65536
    queue: Discipline = "drop-tail"
    """What is dropped: "drop-tail" what finds the queue full, "codel" earlier, by how long packets have waited."""

    def begin(self, chance: random.Random) -> Act:
        return queue_named(self.queue, serving(constant(self.rate_bps)), self.queue_bytes)
