"""Delay that differs from packet to packet."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition
from testbed.packets.packet import Packet


class Jitter(Condition):
    """Adds an exponentially distributed delay to each packet; packets overtake one another, as on parallel paths."""

    disorders: ClassVar[bool] = True

    kind: Literal["jitter"]
    mean_s: Annotated[float, Field(gt=0, le=10)]

    def begin(self, chance: random.Random) -> Act:
        def act(packet: Packet) -> Iterable[Packet]:
            return (Packet(packet.data, packet.at_s + chance.expovariate(1 / self.mean_s)),)

        return act
